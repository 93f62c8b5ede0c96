"""Word n-grams (shingles) as 64-bit hashes, from the UTF-8 bytes of texts as Arrow holds them.

Words are runs of Unicode letters, digits and underscores, each character in lower case by itself (so that the hash of
a word does not depend on what stands around it). The hash of a word is a polynomial over its characters in a fixed odd
base modulo 2^64, that of an n-gram a polynomial over its words; both are mixed at the end.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.compiled import compiled, mix

Hashes = npt.NDArray[np.uint64]
Characters = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

BASE = np.uint64(0x9E3779B97F4A7C15)
MAX_NGRAM = 64
_WORD_CHARACTER = re.compile(r"\w")
_CODE_POINTS = 0x40000
"""There are no letters or digits above: planes 4 to 13 are unassigned, 14 holds tags, 15 and 16 are private."""


@dataclass(frozen=True)
class Texts:
    """A batch of texts without copies.

    Attributes:
        data: their bytes, UTF-8.
        bounds: [n + 1] text i is `data[bounds[i] : bounds[i + 1]]`.
    """

    data: Bytes
    bounds: Numbers

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @staticmethod
    def of(column: pa.Array | pa.ChunkedArray) -> Texts:
        """The texts of a string column without nulls."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        array = array.cast(pa.large_string())
        _, offsets, data = array.buffers()
        if len(array) == 0 or data is None:
            return Texts(np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64))
        bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
        return Texts(np.frombuffer(data, np.uint8), bounds)


@functools.lru_cache(maxsize=1)
def characters() -> Characters:
    """[0x40000] lower case of each code point that is part of words, 0 for the others."""
    lower = np.zeros(_CODE_POINTS, np.uint32)
    for start in range(0, _CODE_POINTS, 256):
        block = "".join(map(chr, range(start, start + 256)))
        if block.isalnum() and block.lower() == block:  # most of those of Chinese and Korean, which takes a while else
            lower[start : start + 256] = np.arange(start, start + 256)
        elif _WORD_CHARACTER.search(block):
            lower[start : start + 256] = [ord(c.lower()[0]) if c.isalnum() else 0 for c in block]
    lower[ord("_")] = ord("_")
    return lower


@functools.lru_cache(maxsize=1)
def powers() -> Hashes:
    """[MAX_NGRAM] BASE^1, BASE^2, ... modulo 2^64."""
    return np.cumprod(np.full(MAX_NGRAM, BASE, np.uint64), dtype=np.uint64)


def shingles(text: str, ngram: int) -> Hashes:
    """[n] hashes of the word n-grams of a text in order, repeats included.

    A text of fewer than `ngram` words gives one hash of all its words; one without words gives none.
    """
    data = np.frombuffer(text.encode(errors="replace"), np.uint8)
    words = np.empty(len(data) // 2 + 1, np.uint64)
    _, count = read_words(data, 0, len(data), characters(), words, 0)
    hashes = np.empty(max(count, 1), np.uint64)
    return hashes[: join_words(words, count, ngram, powers(), hashes)]


@compiled
def read_words(data: Bytes, at: int, end: int, lower: Characters, words: Hashes, filled: int) -> tuple[int, int]:
    """Append the hashes of the words of data[at:end] to `words`, until it is full.

    Bytes that are not UTF-8 count as characters that are not part of words.

    Returns:
        Where to go on, and how many words there are.
    """
    inside = np.uint64(0)
    while at < end:
        code = np.uint32(data[at])
        at += 1
        if code < 0x80:  # first of all, which makes English a fifth faster
            character = lower[code]
        else:
            more = 3 if code >= 0xF0 else 2 if code >= 0xE0 else 1
            character = np.uint32(0)
            if at + more <= end:
                code = np.uint32(code & (0x3F >> more))
                for k in range(more):
                    code = np.uint32((code << 6) | (data[at + k] & 0x3F))
                at += more
                if code < len(lower):
                    character = lower[code]
        if character != 0:
            inside = inside * BASE + np.uint64(character)
        elif inside != 0:
            words[filled] = mix(inside)
            filled += 1
            inside = np.uint64(0)
            if filled == len(words):
                return at, filled
    if inside != 0:
        words[filled] = mix(inside)
        filled += 1
    return at, filled


@compiled
def join_words(words: Hashes, count: int, ngram: int, factors: Hashes, hashes: Hashes) -> int:
    """Fill `hashes` with those of the n-grams of the first `count` words; returns how many there are."""
    width = min(ngram, count)
    found = count - width + 1 if count else 0
    for i in range(found):
        total = np.uint64(0)
        for k in range(width):
            total += words[i + k] * factors[k]
        hashes[i] = mix(total)
    return found
