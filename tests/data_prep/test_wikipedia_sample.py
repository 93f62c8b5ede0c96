from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import small_corpus
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data_prep import wikipedia_sample
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef
from data_prep.ngrams import ngram_hashes
from data_prep.wikipedia_sample import WikipediaSample, WikipediaSampleSettings, WikipediaSampleStage, texts

ARTICLES = ["One two three four five six seven.", "Eight nine ten eleven twelve\nthirteen fourteen."]


def stage_over(folder: Path, *paths: Path, ngram: int = 3) -> WikipediaSampleStage:
    inputs = {"wikipedia": [FileRef.of(str(path)) for path in paths]}
    return WikipediaSampleStage(str(folder / "out"), WikipediaSampleSettings(ngram=ngram), inputs, {"wikipedia": "x"})


def write(folder: Path, kind: str) -> Path:
    lines = "".join(json.dumps({"title": "t", "text": text}) + "\n" for text in ARTICLES).encode()
    if kind == "parquet":
        rows = [small_corpus.document(i, text) for i, text in enumerate(ARTICLES)]
        return Path(small_corpus.write_documents(folder, rows)[0].path)
    path = folder / f"wiki.{kind}"
    path.write_bytes(
        {
            "jsonl": lines,
            "jsonl.zst": zstandard.ZstdCompressor().compress(lines),
            "txt": "\n".join(ARTICLES).encode(),
            "txt.gz": gzip.compress("\n".join(ARTICLES).encode()),
        }[kind]
    )
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.zst", "txt", "txt.gz"])
def test_finds_the_texts_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    stage = stage_over(tmp_path, write(tmp_path, kind))
    manifest = small_corpus.complete(stage)
    sample = WikipediaSample(f"{stage.folder}/ngrams.bin")
    assert [sample.share(article, 3) for article in ARTICLES] == [1.0, 1.0]
    assert sample.share("one two three and something else", 3) == 0.25
    assert sample.share("not a word of it here", 3) == 0.0
    assert sample.share("", 3) == 0.0
    assert manifest.totals.rows_out == manifest.summary["ngrams"] >= 10


def test_the_bytes_do_not_depend_on_how_often_hashes_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "jsonl")
    whole = stage_over(tmp_path / "a", path, path)
    small_corpus.complete(whole)
    monkeypatch.setattr(wikipedia_sample, "_PENDING", 1)
    merged = stage_over(tmp_path / "b", path, path)
    small_corpus.complete(merged)
    read = [Path(stage.folder, "ngrams.bin").read_bytes() for stage in (whole, merged)]
    assert (
        read[0]
        == read[1]
        == np.unique(np.concatenate([ngram_hashes(text, 3, "alphanumeric") for text in ARTICLES])).tobytes()
    )


def test_plain_text_is_taken_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wiki"
    path.write_text("\n".join(f"line {i}" for i in range(100)))
    monkeypatch.setattr(wikipedia_sample, "_PIECE", 50)
    pieces = list(texts(FileRef.of(str(path))))
    assert len(pieces) > 5
    assert "\n".join(pieces) == path.read_text()


def test_an_empty_sample_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "wiki.txt"
    path.write_text("\n")
    stage = stage_over(tmp_path, path)
    small_corpus.complete(stage)
    assert WikipediaSample(f"{stage.folder}/ngrams.bin").share("one two three", 3) == 0.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"body": "x"}\n', r"a\.jsonl, line 2: is not a JSON object with a field `text`"),
        ("a.jsonl", b"[1]\n", "line 1"),
        ("a.jsonl", b'{"text": 3}\n', "line 1"),
        ("a.jsonl", b"nonsense\n", "line 1"),
        ("a.txt", b"\xff\xfe\n", "not UTF-8"),
        ("a.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd\x00", "cut short"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((UserError, CorruptFile), match=message):
        list(texts(FileRef.of(str(path))))


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=3, max_size=20), st.integers(1, 3))
def test_a_text_is_all_its_own(words: list[str], ngram: int) -> None:
    sample = WikipediaSample.__new__(WikipediaSample)
    sample._hashes = np.unique(ngram_hashes(" ".join(words), ngram, "alphanumeric"))
    assert sample.share(" ".join(words), ngram) == 1.0
