"""Imports run one way: launch -> pipeline -> data_prep, and data preparation knows nothing of torch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FROM_DATA_PREP = {
    "errors",
    "keyed",
    "store",
    "configfile",
    "shards",
    "tokenizer",
    "progress",
    "mixture",
    "report",
    "excerpt",
    "__version__",
}


def imported(source: str) -> Iterator[str]:
    """Dotted names a source file imports, wherever in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def refused(package: str, name: str) -> bool:
    """Whether a file of `package` must not import `name`."""
    top, _, rest = name.partition(".")
    if package == "data_prep":
        return top in {"torch", "deepspeed", "pipeline", "launch"}
    if package == "pipeline":
        return top == "launch" or (top == "data_prep" and rest.partition(".")[0] not in FROM_DATA_PREP)
    return False


@pytest.mark.parametrize("package", ["data_prep", "pipeline", "launch"])
def test_imports_run_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported(path.read_text(encoding="utf-8"))
        if refused(package, name)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("package", "line", "wrong"),
    [
        ("data_prep", "import torch.nn", True),
        ("data_prep", "def f():\n    from pipeline.model import gpt", True),
        ("data_prep", "from data_prep import stage", False),
        ("pipeline", "from data_prep import stage", True),
        ("pipeline", "from data_prep.runner import run_stage", True),
        ("pipeline", "import data_prep", True),
        ("pipeline", "from data_prep import errors, store", False),
        ("pipeline", "from data_prep.shards import Shard", False),
        ("pipeline", "import launch.pretrain", True),
        ("launch", "from pipeline import config", False),
    ],
)
def test_the_rule_itself(package: str, line: str, wrong: bool) -> None:
    assert any(refused(package, name) for name in imported(line)) is wrong
