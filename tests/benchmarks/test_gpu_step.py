"""The benchmark for a GPU runs with no more packages than it says."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAID = ("torch", "deepspeed", "pydantic", "PyYAML", "numpy", "pyarrow")

BLOCKED = """
import runpy, sys
from importlib.machinery import PathFinder
class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
sys.argv = ["gpu_step.py", "--model", "demo", "--micro-batch", "2", "--accumulation", "1", "--steps", "2",
            "--who", "ours"]
runpy.run_path("tests/benchmarks/gpu_step.py", run_name="__main__")
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought_by(names: tuple[str, ...]) -> set[str]:
    """Distributions that are installed with these."""
    found: set[str] = set()
    waiting = [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue
        found.add(name)
        waiting += [normal(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in needs if "extra ==" not in need]
    return found


@pytest.mark.slow
def test_it_needs_no_other_package() -> None:
    allowed = brought_by(SAID)
    ours = {"data_prep", "pipeline", "launch"}
    blocked = {
        module
        for module, owners in packages_distributions().items()
        if module not in ours and not any(normal(owner) in allowed for owner in owners)
    }
    assert {"orjson", "zstandard", "typer", "tokenizers", "mlflow"} <= blocked
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=sorted(blocked))],
        cwd=ROOT,
        env={**os.environ, "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| demo" in done.stdout
