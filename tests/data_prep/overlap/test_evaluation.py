from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from overlap_corpus import write_set
from small_corpus import complete

from data_prep.errors import CorruptFile, UserError
from data_prep.ngrams import ngram_hashes
from data_prep.overlap.evaluation import EvaluationSettings, NgramsSettings, documents_of, read_ngrams
from data_prep.overlap.table import OverlapNgramsStage


def stage_over(folder: Path, ngram: int = 2, **settings: object) -> OverlapNgramsStage:
    given = NgramsSettings.model_validate({**settings, "ngram": ngram})
    return OverlapNgramsStage(str(folder / "out"), given, {}, {})


def test_every_kind_of_file_gives_its_documents(tmp_path: Path) -> None:
    rows = [{"q": "Who is it", "a": ["one", "two"]}, {"q": "three", "a": []}]
    expected = ["Who is it\none\ntwo", "three"]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        assert list(documents_of(str(tmp_path / name), ("q", "a"))) == expected, name
    (tmp_path / "a.txt").write_text("one line\nand more\n")
    assert list(documents_of(str(tmp_path / "a.txt"))) == ["one line\nand more"]
    assert list(documents_of(str(tmp_path / "a.txt"), by_line=True)) == ["one line", "and more"]


def test_the_ngrams_of_each_set_with_their_counts(tmp_path: Path) -> None:
    sets = {
        "b": write_set(tmp_path / "b.jsonl", ["x y", "x y x y", "z"]),
        "a": [write_set(tmp_path / "a1.jsonl", ["x y"]), write_set(tmp_path / "a2.jsonl", ["y z"])],
    }
    stage = stage_over(tmp_path, sets=sets)
    manifest = complete(stage)
    (ref,) = manifest.files(stage.folder, "ngrams")
    hash_of = {words: ngram_hashes(words, 2, "alphanumeric")[0].item() for words in ("x y", "y x", "y z")}
    rows = {(row["set"], row["hash"]): row["count"] for row in read_ngrams([ref]).to_pylist()}
    assert rows == {
        ("a", hash_of["x y"]): 1,
        ("a", hash_of["y z"]): 1,
        ("b", hash_of["x y"]): 3,
        ("b", hash_of["y x"]): 1,
    }
    assert manifest.summary == {"a": "2 documents, 2 2-grams", "b": "3 documents, 4 2-grams"}


def test_ngrams_do_not_go_across_documents(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a b\nc d\n")
    whole = complete(stage_over(tmp_path / "1", sets={"t": str(tmp_path / "t")}))
    lines = complete(stage_over(tmp_path / "2", sets={"t": str(tmp_path / "t")}, lines=["t"]))
    assert (whole.totals.rows_out, lines.totals.rows_out) == (3, 2)


def test_other_content_of_a_set_is_another_plan(tmp_path: Path) -> None:
    path = write_set(tmp_path / "a.jsonl", ["x y"])
    stage = stage_over(tmp_path, sets={"a": path})
    before = stage.plan_entry(stage.plan()[0])
    write_set(tmp_path / "a.jsonl", ["x z"])
    assert stage.plan_entry(stage.plan()[0]) != before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"body": "x"}\n', r"a\.jsonl, line 2: the field 'text' is not there"),
        ("a.jsonl", b'{"text": [1]}\n', r"line 1: the field 'text' .*evaluation\.fields"),
        ("a.jsonl", b"[1]\n", "line 1: is not a JSON object"),
        ("a.jsonl", b"nonsense\n", "line 1"),
        ("a.txt", b"\xff\xfe\n", "not UTF-8"),
        ("a.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("a.txt.gz", b"\x1f\x8b\x08", r"a\.txt\.gz"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((UserError, CorruptFile), match=message):
        list(documents_of(str(path)))


def test_a_parquet_file_without_the_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet, row 1: the field 'text' is not there"):
        list(documents_of(str(tmp_path / "a.parquet")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "names no set"),
        ({"sets": {"a": "x"}, "lines": ["b"]}, r"'b' is none of evaluation\.sets \(a\)"),
        ({"sets": {"a": "x"}, "fields": {"b": "text"}}, "'b' is none of"),
        ({"sets": {"a": []}}, "at least 1 item"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationSettings.model_validate(settings)


def test_a_set_of_short_documents_is_said_to_be_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    sets = {"a": write_set(tmp_path / "a.jsonl", ["one", "two"]), "b": write_set(tmp_path / "b.jsonl", ["one two"])}
    summary = complete(stage_over(tmp_path, sets=sets)).summary
    assert summary["warning"] == "no document of a has 2 words: nothing of it can be found"
    assert (summary["a"], summary["b"]) == ("2 documents, 0 2-grams", "1 documents, 1 2-grams")
    write_set(tmp_path / "a.jsonl", [])
    with pytest.raises(UserError, match=r"evaluation\.sets\.a: its files hold no document"):
        complete(stage_over(tmp_path, sets=sets))
    with pytest.raises(UserError, match=r"evaluation\.sets\.a: no file matches"):
        stage_over(tmp_path, sets={"a": str(tmp_path / "none")}).plan()
