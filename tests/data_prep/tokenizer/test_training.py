from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import models, pre_tokenizers, trainers
from vocabularies import TEXTS, corpus, needs_data

from data_prep.tokenizer import Tokenizer, train, training


def oracle(texts: list[str], size: int) -> list[tuple[str, str]]:
    """Merges that Hugging Face's trainer learns."""
    library = HuggingFaceTokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library.train_from_iterator(
        iter(texts),
        trainers.BpeTrainer(vocab_size=size, min_frequency=2, initial_alphabet=alphabet, show_progress=False),
    )
    return [(left, right) for left, right in json.loads(library.to_str())["model"]["merges"]]


def merges(data: bytes) -> list[tuple[str, str]]:
    return [(left, right) for left, right in json.loads(data)["model"]["merges"]]


def ties(seed: int, words: int = 3000) -> list[str]:
    """Short words of few letters, most pairs of which are equally frequent."""
    draw = random.Random(seed)
    letters = ["abcd", "ab", "aé日\0\xad~", "xyz01.,'"][seed % 4]
    return [" ".join("".join(draw.choices(letters, k=draw.randint(1, 9))) for _ in range(words)) for _ in range(3)]


def test_merges_do_not_cross_character_categories() -> None:
    tokenizer = Tokenizer(train(iter(["dog. dog! dog? dog1 " * 50]), 400))
    pieces = {tokenizer.decode_bytes([i]) for i in range(256, tokenizer.eot_id)}
    assert b"dog" in pieces and b" dog" in pieces
    assert not [p for p in pieces if b"g." in p or b"g!" in p or b"g1" in p]


def test_training_depends_neither_on_order_nor_on_chance() -> None:
    data = train(iter(TEXTS), 320)
    assert data == train(iter(TEXTS), 320) == train(iter(reversed(TEXTS)), 320)


def test_texts_are_not_joined_and_long_ones_not_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "_BLOCK", 7)
    path = tmp_path / "texts"
    texts = ["", "é" * 20, "ab", "", "日本語のテキスト"]
    path.write_bytes(b"".join(one.encode() + b"\xff" for one in texts))
    assert list(training._texts(path)) == texts
    assert merges(train(iter(["ab", "cd"] * 9), 300)) == oracle(["ab", "cd"] * 9, 299) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize("seed", range(8))
def test_the_fast_trainer_learns_the_merges_of_hugging_face_also_from_ties(
    seed: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gigatoken", reason="no build of gigatoken for this platform")
    monkeypatch.setattr(training, "_FAST_FROM", 0)
    monkeypatch.setattr(training, "_train_byte_level", lambda *_: pytest.fail("the fast trainer was not used"))
    texts = ties(seed)
    assert merges(train(iter(texts), 520)) == oracle(texts, 519)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(4))
def test_both_trainers_write_the_same_bytes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # With a character that only the fast trainer's version of Unicode knows to be a letter.
    texts = [*ties(seed), *TEXTS, "\U000323b0's \U000323b0's \ua7ce'll " * 5]
    monkeypatch.setattr(training, "_FAST_FROM", 0)
    fast = train(iter(texts), 500)
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    assert train(iter(texts), 500) == fast


def test_pairs_that_occur_once_are_not_merged_by_either_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["ab ab xyz", *TEXTS]
    slow = train(iter(texts), 50_000)
    monkeypatch.setattr(training, "_FAST_FROM", 0)
    assert train(iter(texts), 50_000) == slow
    assert merges(slow) == oracle(texts, 49_999)
    assert merges(train(iter(["ab ab xyz"]), 50_000)) == [("a", "b")]


@needs_data
@pytest.mark.slow
def test_the_merges_of_a_corpus_are_those_of_hugging_face() -> None:
    texts = corpus("text_multi")[:400] + corpus("text_en")[:800]
    assert merges(train(iter(texts), 20_000)) == oracle(texts, 19_999)


def test_gpt1_learns_the_same_again_with_the_end_of_words() -> None:
    data = train(iter(TEXTS), 300, "gpt1")
    assert data == train(iter(reversed(TEXTS)), 300, "gpt1")
    tokenizer = Tokenizer(data)
    assert (tokenizer.kind, tokenizer.unknown_id, tokenizer.eot_id) == ("gpt1", 0, tokenizer.vocab_size - 1)
    ids = tokenizer.encode("The BEST of…times;")
    assert tokenizer.decode(ids) == "the best of . . . times ; "
    assert len(tokenizer.encode("times")) == 1
    assert tokenizer.encode("☃") == [0]
    assert tokenizer.eot_id not in tokenizer.encode("<|endoftext|>") and 0 not in tokenizer.encode("endoftext")


def test_gpt1_keeps_the_most_frequent_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "GPT1_CHARACTERS", 3)
    vocabulary = json.loads(train(iter(["aaaa bbbb cc d aa bb"] * 2), 300, "gpt1"))["model"]["vocab"]
    assert [token for token in vocabulary if len(token.removesuffix("</w>")) == 1] == ["a", "b", "c"] + [
        f"{c}</w>" for c in "abc"
    ]


def test_the_temporary_file_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    train(iter(TEXTS), 300)

    def texts() -> object:
        yield "a text"
        assert len(os.listdir(tmp_path)) == 1  # noqa: PTH208
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        train(texts(), 300)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
