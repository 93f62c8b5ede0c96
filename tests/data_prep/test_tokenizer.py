from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpus import complete, document, write_documents
from tokenizers import Tokenizer as HuggingFaceTokenizer

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.tokenizer import END_OF_TEXT, Tokenizer, TokenizerSettings, TokenizerStage, train

TEXTS = [
    "It was the best of times, it was the worst of times. " * 3,
    "naïve café — 日本語のテキスト, 한국어, русский; don't we'll 1234 5678\n\n\tindent",
    f"a {END_OF_TEXT} in the text {END_OF_TEXT}",
]
TOKENIZER = Tokenizer(train(iter(TEXTS), 320))


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_survives_the_round_trip(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.encode_batch([text, "x"])[0] == ids
    assert TOKENIZER.eot_id not in ids


@settings(max_examples=200, deadline=None)
@given(st.binary() | st.text().map(lambda t: t.encode()[1:]))
def test_any_bytes_survive_the_round_trip(data: bytes) -> None:
    assert TOKENIZER.decode_bytes(TOKENIZER.encode_bytes(data)) == data


def test_every_byte_is_a_token_in_the_order_of_gpt2() -> None:
    assert [TOKENIZER.decode_bytes([i]) for i in (0, 1, 93, 94, 188, 255)] == [
        b"!",
        b'"',
        b"~",
        b"\xa1",
        b"\x00",
        b"\xad",
    ]
    assert sorted(TOKENIZER.decode_bytes([i]) for i in range(256)) == [bytes([b]) for b in range(256)]


def test_end_of_text_in_a_document_is_text_and_its_id_is_the_last() -> None:
    ids = TOKENIZER.encode(f"a{END_OF_TEXT}b")
    assert TOKENIZER.eot_id == TOKENIZER.vocab_size - 1
    assert TOKENIZER.eot_id not in ids
    assert TOKENIZER.decode(ids) == f"a{END_OF_TEXT}b"
    assert TOKENIZER.decode([TOKENIZER.eot_id]) == END_OF_TEXT


def test_a_cut_character_decodes_to_the_replacement_character() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode_bytes("é".encode()[:1])) == "�"


def test_merges_do_not_cross_character_categories() -> None:
    tokenizer = Tokenizer(train(iter(["dog. dog! dog? dog1 " * 50]), 400))
    pieces = {tokenizer.decode_bytes([i]) for i in range(256, tokenizer.eot_id)}
    assert b"dog" in pieces and b" dog" in pieces
    assert not [p for p in pieces if b"g." in p or b"g!" in p or b"g1" in p]


def test_training_depends_neither_on_order_nor_on_chance() -> None:
    data = train(iter(TEXTS), 320)
    assert data == train(iter(TEXTS), 320) == train(iter(reversed(TEXTS)), 320)


def test_hugging_face_gives_the_same_ids() -> None:
    library = HuggingFaceTokenizer.from_str(train(iter(TEXTS), 320).decode())
    for text in ("the best of times", "한국어 café"):
        assert library.encode(text).ids == TOKENIZER.encode(text)


def test_load_answers_bad_files_clearly(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such tokenizer"):
        Tokenizer.load(str(tmp_path / "none.json"))
    cut = tmp_path / "cut.json"
    cut.write_bytes(train(iter(TEXTS), 320)[:-100])
    with pytest.raises(CorruptFile, match=r"cut\.json: not a tokenizer file"):
        Tokenizer.load(str(cut))
    other = tmp_path / "other.json"
    other.write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')
    with pytest.raises(UserError, match="not a byte-level BPE tokenizer"):
        Tokenizer.load(str(other))


def stage(folder: Path, refs: list, **settings: int) -> TokenizerStage:  # type: ignore[type-arg]
    return TokenizerStage(str(folder), TokenizerSettings(**settings), {"documents": refs}, {})


def test_the_stage_writes_the_same_tokenizer_again_and_for_another_layout_of_files(tmp_path: Path) -> None:
    rows = [document(i, text) for i, text in enumerate(TEXTS)]
    one = complete(stage(tmp_path / "a", write_documents(tmp_path / "in", rows), vocab_size=280))
    two = complete(stage(tmp_path / "b", write_documents(tmp_path / "in2", rows[:1], rows[1:]), vocab_size=280))
    assert store.read_bytes(str(tmp_path / "a/tokenizer.json")) == store.read_bytes(str(tmp_path / "b/tokenizer.json"))
    assert one.summary == two.summary
    assert one.summary["vocab_size"] == 280
    assert 1.0 < one.summary["bytes_per_token"] < 8.0
    assert "warning" not in one.summary


def test_a_corpus_too_small_for_the_vocabulary_gives_a_smaller_one_and_says_so(tmp_path: Path) -> None:
    manifest = complete(
        stage(tmp_path / "a", write_documents(tmp_path / "in", [document(0, "ab ab")]), vocab_size=5000)
    )
    assert manifest.summary["vocab_size"] == 258
    assert "258 ids instead of 5,000" in manifest.summary["warning"]


def test_of_a_large_corpus_a_keyed_sample_trains(tmp_path: Path) -> None:
    rows = [document(i, f"document number {i} " * 20) for i in range(200)]
    size = sum(len(row["text"]) for row in rows)
    refs = write_documents(tmp_path / "in", rows)
    manifest = complete(stage(tmp_path / "a", refs, vocab_size=280, sample_bytes=size // 4))
    assert 0.15 < manifest.totals.rows_out / 200 < 0.35
    with pytest.raises(UserError, match="sample_bytes"):
        complete(stage(tmp_path / "b", refs, vocab_size=280, sample_bytes=1))
