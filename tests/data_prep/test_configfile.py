from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from data_prep import configfile
from data_prep.configfile import Count, Settings, load, parse_count
from data_prep.errors import UserError


class Optimizer(Settings):
    learning_rate: float = Field(default=1e-3, gt=0)
    kind: Literal["adamw", "sgd"] = "adamw"


class Config(Settings):
    steps: Count = Field(default=10, ge=0)
    tokens: Count | None = None
    names: tuple[str, ...] = ()
    optimizer: Optimizer = Optimizer()
    other: Optimizer | None = None


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("375M", 375_000_000),
        ("1.5k", 1500),
        ("64KiB", 65_536),
        ("2^4", "2^4"),
        ("3e9", 3_000_000_000),
        (3e9, 3_000_000_000),
        ("1_000", 1000),
        ("300B", 300_000_000_000),
        ("9007199254740993", 9_007_199_254_740_993),
        ("0.5", "0.5"),
        ("5 apples", "5 apples"),
        (2.5, 2.5),
        (7, 7),
    ],
)
def test_counts_with_units(given: object, meant: object) -> None:
    assert parse_count(given) == meant


@given(st.integers(0, 10**12), st.sampled_from(["", "K", "M", "G", "KiB", "MiB"]))
def test_whole_counts_are_exact(number: int, unit: str) -> None:
    factor = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KiB": 2**10, "MiB": 2**20}[unit]
    assert parse_count(f"{number}{unit}") == number * factor


def test_files_are_merged_in_order_and_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep/a.yaml", "steps: 1\nnames: [a, b]\noptimizer: {learning_rate: 3e-4, kind: sgd}\n")
    write(tmp_path / "b.yaml", "base: deep/a.yaml\nsteps: 2\n")
    write(tmp_path / "c.yaml", "optimizer:\n  learning_rate: 0.5\n")
    path = write(tmp_path / "d.yaml", "base: [b.yaml, c.yaml]\nnames: [c]\n")
    config = load(path, Config, ["tokens=1.5K", "optimizer.kind=adamw"])
    assert config == Config(steps=2, tokens=1500, names=("c",), optimizer=Optimizer(learning_rate=0.5, kind="adamw"))


def test_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.yaml", "# nothing\n"), Config) == Config()


def test_the_resolved_yaml_loads_to_the_same_config(tmp_path: Path) -> None:
    config = Config(steps=3, optimizer=Optimizer(learning_rate=3e-4), names=("ä",))
    again = load(write(tmp_path / "a.yaml", configfile.to_yaml(config)), Config)
    assert again == config
    assert configfile.config_sha(again) == configfile.config_sha(config)
    assert configfile.config_sha(Config()) != configfile.config_sha(config)


@pytest.mark.parametrize(
    ("text", "overrides", "line"),
    [
        ("stps: 3", [], "{path}: unknown key stps; did you mean steps?"),
        ("optimizer: {learning_rat: 3}", [], "{path}: unknown key optimizer.learning_rat; did you mean optimizer.lea"),
        ("learning_rate: 3", [], "{path}: unknown key learning_rate; did you mean optimizer.learning_rate?"),
        ("steps: -3", [], "{path}: steps: Input should be greater than or equal to 0 (got -3)"),
        ("steps: [3]", [], "{path}: steps: "),
        ("steps: 3 apples", [], "{path}: steps: Input should be a valid integer"),
        ("optimizer: {kind: adam}", [], "{path}: optimizer.kind: Input should be 'adamw' or 'sgd' (got 'adam')"),
        ("steps: 1\nsteps: 2", [], "{path}:2:1: not valid YAML: the key 'steps' stands twice"),
        ("steps: [1", [], "{path}:1:10: not valid YAML"),
        ("? [a, b]\n: 1", [], "{path}:1:3: not valid YAML: a key must be a plain word"),
        ("- 1", [], "{path}: the file must hold `key: value` lines"),
        ("base: 3", [], "{path}: base must be a path or a list of paths (got 3)"),
        ("base: no.yaml", [], "{folder}/no.yaml: no such config file"),
        ("base: a.yaml", [], "{folder}/a.yaml: base files include each other"),
        ("", ["steps"], "command line: cannot read the override 'steps'"),
        ("", ["=3"], "command line: cannot read the override '=3'"),
        ("", ["steps=[1"], "command line, steps:1:3: not valid YAML"),
        ("", ["steps.deep=3"], "{path}: steps: Input should be a valid integer"),
        ("a: 1\nb: 2", [], "{path}: unknown key a (and 1 more problems)"),
    ],
)
def test_bad_config_is_one_clear_line(tmp_path: Path, text: str, overrides: list[str], line: str) -> None:
    path = write(tmp_path / "a.yaml", text)
    with pytest.raises(UserError) as error:
        load(path, Config, overrides)
    assert str(error.value).startswith(line.format(path=path, folder=tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["missing.yaml", "folder", "binary.yaml", "binary.yaml/x"])
def test_unreadable_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=f"^{tmp_path / name}: "):
        load(str(tmp_path / name), Config)


def test_a_circle_through_two_files(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "base: b.yaml")
    path = write(tmp_path / "b.yaml", "base: a.yaml")
    with pytest.raises(UserError, match="include each other"):
        load(path, Config)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().steps = 3  # type: ignore[misc]


_PLAIN = st.recursive(
    st.integers() | st.text(st.characters(codec="ascii", categories=["L"])),
    lambda inner: st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
)
_MAPPING = st.dictionaries(st.text("abc", min_size=1), _PLAIN, max_size=3)


@given(_MAPPING, _MAPPING, _MAPPING)
def test_merge_is_associative_and_above_wins(a: dict, b: dict, c: dict) -> None:  # type: ignore[type-arg]
    assert configfile.merge(a, configfile.merge(a, b)) == configfile.merge(a, b)
    assert configfile.merge(a, {}) == configfile.merge({}, a) == a
    for key, value in c.items():
        if not isinstance(value, dict):
            assert configfile.merge(a, c)[key] == value


@given(_MAPPING)
def test_parse_yaml_reads_what_yaml_writes(value: dict) -> None:  # type: ignore[type-arg]
    assert configfile.parse_yaml(yaml.safe_dump(value), "x") == value


@pytest.mark.parametrize(("text", "number"), [("3e-4", 3e-4), ("1E5", 1e5), ("-2.5e+3", -2500.0)])
def test_exponents_are_numbers(text: str, number: float) -> None:
    assert configfile.parse_yaml(text, "x") == number


def test_flatten() -> None:
    assert configfile.flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}
