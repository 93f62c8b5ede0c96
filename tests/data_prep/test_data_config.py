from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_prep import configfile
from data_prep.config import DataConfig
from data_prep.errors import UserError

FOLDER = Path(__file__).parents[2] / "configs" / "data"
ALL = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", [p for p in ALL if p.name != "base.yaml"], ids=lambda p: p.name)
def test_every_config_is_valid(path: Path) -> None:
    assert configfile.load(str(path), DataConfig).name == path.stem


def test_the_base_gives_every_setting() -> None:
    """So that a reader sees all choices in one file."""
    given = configfile.flatten(configfile.read_mapping(str(FOLDER / "base.yaml")))
    own = {"name", "root", "inputs.dumps", "inputs.archives", "tasks.labelled.url_patterns"}
    sections = {key.rpartition(".")[0] for key in configfile.known_keys(DataConfig)}
    assert {key for key in configfile.known_keys(DataConfig) if key not in sections} - own == given.keys()


def test_every_value_outside_the_own_tasks_says_its_source() -> None:
    source = re.compile(r"GPT-[23]|community|ours")
    for path in ALL:
        for line in path.read_text().split("\ntasks:")[0].splitlines():
            value = re.match(r"^ *(\w+): *[^#\s]", line)
            if value and value.group(1) not in {"base", "name", "root", "dumps", "archives"}:
                assert source.search(line.partition("#")[2]), f"{path.name}: {line}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokenizer.vocab=9", r"unknown key tokenizer\.vocab; did you mean tokenizer\.vocab_size\?"),
        ("near_dedup.band=9", r"unknown key near_dedup\.band; did you mean near_dedup\.bands\?"),
        ("tokenizer.vocab_size=-5", r"tokenizer\.vocab_size: .*greater than 256 \(got -5\)"),
        ("partitions=0", r"partitions: .*greater than 0"),
        ("shards.validation_share=1", r"shards\.validation_share: .*less than 1"),
        ("inputs.dumps=[]", r"inputs\.dumps: "),
        ("name=a/b", r"name: "),
    ],
)
def test_wrong_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        configfile.load(str(FOLDER / "demo.yaml"), DataConfig, [override])
