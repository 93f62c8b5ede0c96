from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_minhash import TEXT, slow_shingles, word_hash, words_of

from data_prep.dedup import shingles as module
from data_prep.dedup.shingles import Texts, characters, read_words, shingles


@settings(deadline=None)
@given(TEXT, st.integers(1, 6))
@example("İstanbul ΣΑΣ STRASSE straße e\u0301tude a\u200bb", 2)
def test_the_compiled_loops_agree_with_plain_python(text: str, ngram: int) -> None:
    assert shingles(text, ngram).tolist() == slow_shingles(text, ngram)


def test_the_table_has_every_character_of_words() -> None:
    table = characters().tolist()
    assert not any(chr(i).isalnum() for i in range(len(table), 0x110000))
    assert table == [ord(c.lower()[0]) if c.isalnum() or c == "_" else 0 for c in map(chr, range(len(table)))]


def test_short_texts() -> None:
    assert len(shingles("", 5)) == len(shingles("?! --", 5)) == 0
    assert len(shingles("one", 5)) == len(shingles("one two three four", 5)) == 1
    assert len(shingles("one two three four five", 5)) == 1
    assert len(shingles("one two three four five six", 5)) == 2
    assert shingles("one two", 5) != shingles("two one", 5)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=3, max_size=40))
def test_shingles_are_equal_where_the_words_are(words: list[str]) -> None:
    grams = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    hashes = shingles(" ".join(words), 3).tolist()
    assert len(set(zip(grams, hashes, strict=True))) == len(set(grams)) == len(set(hashes))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_and_nothing_beyond_their_end(data: bytes) -> None:
    """A damaged file may hold strings that are not UTF-8."""
    inside = np.frombuffer(data + b"word", np.uint8)
    words = np.zeros(len(data) + 2, np.uint64)
    at, count = read_words(inside, 0, len(data), characters(), words, 0)
    assert at == len(data)
    assert count <= len(data) // 2 + 1
    if data.isascii():
        assert words[:count].tolist() == [word_hash(word) for word in words_of(data.decode())]


def test_texts_are_those_of_the_column_whatever_its_layout() -> None:
    rng = random.Random(0)
    values = ["".join(rng.choices("abé ", k=rng.randrange(9))) for _ in range(20)]

    def read(texts: Texts) -> list[str]:
        return [texts.data[a:b].tobytes().decode() for a, b in zip(texts.bounds[:-1], texts.bounds[1:], strict=True)]

    for column in (
        pa.array(values),
        pa.array(values, pa.large_string()),
        pa.array(["x", *values, "y"], pa.large_string()).slice(1, 20),
        pa.chunked_array([values[:7], [], values[7:]]),
    ):
        assert read(Texts.of(column)) == values
    assert len(Texts.of(pa.array([], pa.large_string()))) == 0
    assert read(Texts.of(pa.array(["", ""], pa.large_string()))) == ["", ""]
    assert len(module.powers()) == module.MAX_NGRAM
