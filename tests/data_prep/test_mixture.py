from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data_prep import configfile, mixture
from data_prep.errors import CorruptFile, UserError
from data_prep.mixture import BLOCK, Mixture, MixtureSettings, largest_remainders
from data_prep.shards import DatasetManifest, ShardInfo, SplitInfo

PRESET = Path(__file__).parents[2] / "configs/data/mixtures/gpt3.yaml"
GPT3 = {"common-crawl": 410, "webtext2": 19, "books1": 12, "books2": 55, "wikipedia": 3}


def dataset(folder: Path, tokens: int, tokenizer: str = "t" * 64) -> DatasetManifest:
    """A manifest alone: a mixture looks at nothing else."""
    splits = {
        "train": SplitInfo((ShardInfo("a.arrow", folder.name, 1, 1, tokens),), 1, 1),
        "validation": SplitInfo((ShardInfo("b.arrow", folder.name, 1, 1, 10),), 1, 1),
    }
    manifest = DatasetManifest(folder.name, tokenizer, 50_257, 50_256, "uint16", splits, {})
    folder.mkdir(parents=True, exist_ok=True)
    manifest.save(str(folder))
    return manifest


@pytest.fixture
def gpt3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, billions in GPT3.items():
        dataset(tmp_path / name / "shards", billions * 10**9)
    monkeypatch.setenv("GPT3", str(tmp_path))
    return tmp_path


def made(folder: Path, weights: dict[str, float], tokens: int = 1000) -> Mixture:
    sources = {name: {"path": str(folder / name), "weight": weight} for name, weight in weights.items()}
    settings = configfile.validate(MixtureSettings, {"name": "m", "tokens": tokens, "sources": sources}, "m.yaml")
    return mixture.mix(settings, "m.yaml")


def test_the_preset_has_the_numbers_of_table_2_2(gpt3: Path) -> None:
    settings = configfile.load(str(PRESET), MixtureSettings)
    told = {
        name: (source.weight, source.published.tokens, source.published.epochs)
        for name, source in settings.sources.items()
        if source.published
    }
    assert told == {
        "common-crawl": (60, 410 * 10**9, 0.44),
        "webtext2": (22, 19 * 10**9, 2.9),
        "books1": (8, 12 * 10**9, 1.9),
        "books2": (8, 55 * 10**9, 0.43),
        "wikipedia": (3, 3 * 10**9, 3.4),
    }
    found = mixture.mix(settings, str(PRESET))
    assert settings.tokens == 300 * 10**9
    assert sum(found.weights) == 101
    assert sum(found.shares) == pytest.approx(1)
    assert found.quotas == [608, 223, 81, 81, 31]  # of 1,024: 60/101, 22/101, ...
    epochs = dict(zip(GPT3, found.epochs, strict=True))
    # The weights as printed give these; the paper's own column has 2.9 for WebText2 and 3.4 for Wikipedia.
    expected = {"common-crawl": 0.44, "webtext2": 3.47, "books1": 2.0, "books2": 0.436, "wikipedia": 3.0}
    assert epochs == {name: pytest.approx(value, rel=0.02) for name, value in expected.items()}


def test_the_command_says_that_weights_are_normalised_and_writes_the_manifest(gpt3: Path) -> None:
    from data_prep.cli import application

    output = gpt3 / "made/gpt3.json"
    result = CliRunner().invoke(application(), ["mix", str(PRESET), "tokens=30B", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "the weights sum to 101, not to 100 (or 1): normalised" in result.output
    assert "59.41 %" in result.output
    found = Mixture.load(str(output))
    assert found.tokens == 30 * 10**9
    assert found.sources[0].path == str(gpt3 / "common-crawl/shards")
    written = json.loads(output.read_text())["sources"][1]
    assert (written["of_1024"], round(written["share"], 4)) == (223, 0.2178)
    again = CliRunner().invoke(application(), ["mix", str(PRESET), "--output", str(gpt3 / "x.yaml")])
    assert again.exit_code == 2
    assert "ends with .json" in again.stderr


def test_the_digest_names_datasets_weights_and_order_but_no_place(tmp_path: Path) -> None:
    dataset(tmp_path / "a", 100)
    dataset(tmp_path / "b", 200)
    first = made(tmp_path, {"a": 1, "b": 2})
    (tmp_path / "moved").mkdir()
    for name in "ab":
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert made(tmp_path / "moved", {"a": 1, "b": 2}, tokens=5).digest == first.digest
    assert made(tmp_path / "moved", {"a": 1, "b": 3}).digest != first.digest
    assert made(tmp_path / "moved", {"b": 2, "a": 1}).digest != first.digest
    dataset(tmp_path / "moved" / "b", 201)
    assert made(tmp_path / "moved", {"a": 1, "b": 2}).digest != first.digest


def test_what_cannot_be_mixed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path / "a", 100)
    dataset(tmp_path / "b", 200, tokenizer="u" * 64)
    dataset(tmp_path / "c", 200)
    with pytest.raises(UserError, match=r"b and a were encoded with different tokenizers \(uuuu.*tokenizer.path"):
        made(tmp_path, {"a": 1, "b": 1})
    with pytest.raises(UserError, match="a weight is below 1/1024 of the mixture"):
        made(tmp_path, {"a": 1, "c": 10**6})
    with pytest.raises(UserError, match="nowhere: no token dataset here"):
        made(tmp_path, {"a": 1, "nowhere": 1})
    with pytest.raises(UserError, match=r"sources\.a\.weight: .*greater than 0"):
        made(tmp_path, {"a": 0})
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    with pytest.raises(UserError, match=r"variable in '\$NOT_SET_HERE/a' is not set"):
        made(Path("$NOT_SET_HERE"), {"a": 1})


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"weight": 2.0', '"weight": 3.0', "does not match its digest"),
        ('"format": 1', '"format": 9', "another format version"),
        ('"sources"', '"source"', "not a mixture"),
        ('"train_tokens"', '"tokens"', "not a mixture"),
        ("{", "[", "not valid JSON"),
    ],
)
def test_a_damaged_mixture(tmp_path: Path, old: str, new: str, line: str) -> None:
    dataset(tmp_path / "a", 100)
    dataset(tmp_path / "b", 200)
    path = tmp_path / "m.json"
    made(tmp_path, {"a": 1, "b": 2}).save(str(path))
    assert Mixture.load(str(path)) == made(tmp_path, {"a": 1, "b": 2})
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=f"^{path}: .*{line}"):
        Mixture.load(str(path))
    path.unlink()
    with pytest.raises(UserError, match="no such mixture"):
        Mixture.load(str(path))
    assert issubclass(CorruptFile, UserError)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.integers(0, 3 * BLOCK))
def test_largest_remainders(weights: list[float], total: int) -> None:
    counts = largest_remainders(weights, total)
    assert sum(counts) == total
    assert all(abs(count - total * w / sum(weights)) < 1 for count, w in zip(counts, weights, strict=True))
