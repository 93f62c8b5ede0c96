from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import CorruptFile
from data_prep.manifest import STAGE_FILE, FileRef, StageManifest, TaskManifest, Totals

STAGE = StageManifest(
    stage="s",
    code="1+s.1",
    settings={"a": 1},
    upstream={"x": "ab"},
    totals=Totals(3, 2, {"short": 1}, {"bytes": 9}),
    outputs=(FileRef("train/a", "00", 1, 2), FileRef("b", "11", 1)),
    summary={"k": [1]},
)
_COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))
_TOTALS = st.builds(Totals, st.integers(0, 9), st.integers(0, 9), _COUNTS, _COUNTS)


def test_a_file_is_intact_until_a_byte_changes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    ref = FileRef.of(str(path))
    assert (ref.bytes, ref.is_intact()) == (3, True)
    path.write_bytes(b"abd")
    assert not ref.is_intact()
    path.unlink()
    assert not ref.is_intact()
    assert FileRef("x", ref.sha256, 3).under(str(tmp_path)).path == str(path)


@given(st.lists(_TOTALS), st.randoms())
def test_totals_add_up_in_any_order(parts: list[Totals], random: object) -> None:
    total = Totals.sum(parts)
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert Totals.sum(parts) == total
    assert list(Totals.sum(parts).dropped) == sorted(total.dropped)
    assert total.rows_in == sum(part.rows_in for part in parts)


def test_task_manifest_round_trip() -> None:
    manifest = TaskManifest("digest", STAGE.totals, STAGE.outputs)
    data = orjson.loads(orjson.dumps(manifest.to_json()))
    assert TaskManifest.from_json(data, "x") == manifest
    for broken in ({}, [], {**data, "outputs": [{"path": "x"}]}, {**data, "totals": {"rows": 3}}):
        with pytest.raises(CorruptFile, match=r"^here: not a task manifest"):
            TaskManifest.from_json(broken, "here")


def test_stage_manifest_round_trip(tmp_path: Path) -> None:
    STAGE.save(str(tmp_path))
    assert StageManifest.load(str(tmp_path)) == STAGE
    assert [ref.path for ref in STAGE.files("f", "train/")] == ["f/train/a"]


def test_the_digest_names_everything() -> None:
    digests = {
        replace(STAGE, **change).digest  # type: ignore[arg-type]
        for change in (
            {},
            {"code": "2"},
            {"settings": {"a": 2}},
            {"upstream": {"x": "ac"}},
            {"totals": Totals()},
            {"outputs": STAGE.outputs[::-1]},
            {"summary": {}},
        )
    }
    assert len(digests) == 7


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b'"a": 1', b'"a": 2', "does not match its digest"),
        (b'"digest"', b'"dig"', "not a stage manifest"),
        (b'"rows_in"', b'"rows"', "not a stage manifest"),
        (b"{", b"[{", "not valid JSON"),
    ],
)
def test_damaged_stage_manifest(tmp_path: Path, old: bytes, new: bytes, line: str) -> None:
    STAGE.save(str(tmp_path))
    path = tmp_path / STAGE_FILE
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(CorruptFile, match=f"^{path}: .*{line}"):
        StageManifest.load(str(tmp_path))


def test_an_incomplete_stage_has_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StageManifest.load(str(tmp_path))
