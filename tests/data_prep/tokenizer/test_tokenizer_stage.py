from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_corpus import complete, document, write_documents
from vocabularies import GPT1, TEXTS, needs_data

from data_prep import store
from data_prep.errors import UserError
from data_prep.manifest import FileRef
from data_prep.tokenizer import Tokenizer, TokenizerSettings, TokenizerStage, train


def stage(folder: Path, refs: list[FileRef], **settings: Any) -> TokenizerStage:
    return TokenizerStage(str(folder), TokenizerSettings(**settings), {"documents": refs}, {})


def test_the_stage_writes_the_same_tokenizer_again_and_for_another_layout_of_files(tmp_path: Path) -> None:
    rows = [document(i, text) for i, text in enumerate(TEXTS)]
    one = complete(stage(tmp_path / "a", write_documents(tmp_path / "in", rows), vocab_size=280))
    two = complete(stage(tmp_path / "b", write_documents(tmp_path / "in2", rows[:1], rows[1:]), vocab_size=280))
    assert store.read_bytes(str(tmp_path / "a/tokenizer.json")) == store.read_bytes(str(tmp_path / "b/tokenizer.json"))
    assert one.summary == two.summary
    assert one.summary["vocab_size"] == 280
    assert one.summary["unknown_tokens"] == 0
    assert 1.0 < one.summary["bytes_per_token"] < 8.0
    assert "warning" not in one.summary


def test_a_corpus_too_small_for_the_vocabulary_gives_a_smaller_one_and_says_so(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "in", [document(0, "ab ab")])
    assert (
        complete(stage(tmp_path / "a", documents))
        .summary["warning"]
        .startswith("the vocabulary has 258 ids instead of 50,257")
    )
    small = complete(stage(tmp_path / "b", documents, kind="gpt1"))
    assert "instead of 40,479" in small.summary["warning"]


def test_of_a_large_corpus_a_keyed_sample_trains(tmp_path: Path) -> None:
    rows = [document(i, f"document number {i} " * 20) for i in range(200)]
    size = sum(len(row["text"]) for row in rows)
    refs = write_documents(tmp_path / "in", rows)
    manifest = complete(stage(tmp_path / "a", refs, vocab_size=280, sample_bytes=size // 4))
    assert 0.15 < manifest.totals.rows_out / 200 < 0.35
    with pytest.raises(UserError, match="sample_bytes"):
        complete(stage(tmp_path / "b", refs, vocab_size=280, sample_bytes=1))


def test_a_given_vocabulary_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCABULARIES", str(tmp_path))
    given = tmp_path / "tokenizer.json"
    given.write_bytes(train(iter(TEXTS), 290))
    refs = write_documents(tmp_path / "in", [document(i, text) for i, text in enumerate(TEXTS)])
    taken = stage(tmp_path / "a", refs, path="$VOCABULARIES")
    manifest = complete(taken)
    assert store.read_bytes(str(tmp_path / "a/tokenizer.json")) == given.read_bytes()
    assert manifest.summary["vocab_size"] == 290 and "warning" not in manifest.summary
    before = taken.plan_entry(taken.plan()[0])
    given.write_bytes(train(iter(TEXTS), 291))
    assert taken.plan_entry(taken.plan()[0]) != before
    with pytest.raises(UserError, match=r"of kind gpt2, not gpt1; set tokenizer\.kind=gpt2"):
        complete(stage(tmp_path / "b", refs, path="$VOCABULARIES", kind="gpt1"))
    with pytest.raises(UserError, match="no vocabulary here"):
        complete(stage(tmp_path / "c", refs, path="$NO_SUCH_VARIABLE/x"))


@needs_data
def test_openais_gpt1_is_taken_and_what_it_cannot_write_is_counted(tmp_path: Path) -> None:
    refs = write_documents(tmp_path / "in", [document(0, "Snow ☃ and ice ☃.")])
    manifest = complete(stage(tmp_path / "a", refs, path=str(GPT1), kind="gpt1"))
    assert manifest.summary["unknown_tokens"] == 2
    tokenizer = Tokenizer.load(str(tmp_path / "a/tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode("Snow and ICE")) == "snow and ice "
