"""Word n-grams in the normal forms of the papers, as 64-bit hashes, by one compiled pass over the characters of a text.

The forms, each a rule for single characters (code points):

- `alphanumeric` (GPT-2 4): lower-cased alphanumeric words with one space between; whatever else stands between words.
- `unpunctuated` (GPT-3 C): lower-cased words between white space, without their punctuation: ASCII's, as in
  lm-evaluation-harness, and Unicode's (categories P*). What was nothing but punctuation is no word.
- `lower` (Spark's Tokenizer, GPT-3 A): lower-cased words between white space.

Case is folded for each character by itself, so that places in the normal form are places in the text. The hash of an
n-gram is exact for all purposes here: among 10^6 n-grams that are looked for and 10^11 that are looked at, the expected
number of false matches is 0.005.
"""

from __future__ import annotations

import functools
import re
import string
import sys
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from data_prep.compiled import compiled, mix

Hashes = npt.NDArray[np.uint64]
Form = Literal["alphanumeric", "unpunctuated", "lower"]

_BETWEEN, _DELETED = 0, 1
"""In the table of a form: a character that stands between words, one that is left out of its word."""
_LAST_PUNCTUATION = 0x20000
_WORD_START = np.uint64(0x9E3779B97F4A7C15)
_WORD_FACTOR = np.uint64(0xD6E8FEB86659FD93)
_NGRAM_FACTOR = np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True)
class Matches:
    """Where n-grams of a set stand in a text, in order.

    Attributes:
        index: [n] int64 position of each in the set.
        start: [n] int64 first character of its first word.
        end: [n] int64 behind the last character of its last word. Punctuation of the form `unpunctuated` counts.
    """

    index: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]


def word_hashes(text: str, form: Form) -> Hashes:
    """[n_words] hashes of the words of a text, in order."""
    return ngram_hashes(text, 1, form)


def ngram_hashes(text: str, n: int, form: Form) -> Hashes:
    """Hashes of all n-grams of a text, in order, repeats included; none if it has fewer than `n` words."""
    codes = characters(text)
    hashes = np.empty(len(codes) // 2 + 1, np.uint64)
    return hashes[: _ngram_hashes(codes, fold(form), n, hashes)].copy()


class NgramSet:
    """Distinct n-grams, for finding them in texts.

    Memory: 16 to 24 bytes an n-gram.

    Args:
        hashes: sorted and distinct.
        n: words in an n-gram.
        form: of the words.
    """

    def __init__(self, hashes: Hashes, n: int, form: Form) -> None:
        self._hashes = np.ascontiguousarray(hashes)
        self._n, self._fold = n, fold(form)
        bits = max(1, len(hashes).bit_length())
        first, likely = np.zeros((1 << bits) + 1, np.int64), np.zeros(1 << bits, np.uint8)
        _index(self._hashes, np.uint64(64 - bits), first, likely)
        self._tables = (self._hashes, np.uint64(64 - bits), first, likely)
        self._room = 1 << 12

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, text: str) -> Matches:
        """The n-grams of a text that are in the set."""
        codes = characters(text)
        while True:
            found = np.empty((3, self._room), np.int64)
            count = _find(codes, self._fold, self._n, *self._tables, found)
            if count <= self._room:
                return Matches(*found[:, :count].copy())
            self._room = 2 * count


def characters(text: str) -> npt.NDArray[Any]:
    """The code points of a text: uint8 if it is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@functools.lru_cache(maxsize=3)
def fold(form: Form) -> npt.NDArray[np.uint32]:
    """What each code point becomes: its lower case, or `_BETWEEN` or `_DELETED`."""
    # One call for all characters: the line ends keep them from acting on each other.
    every = "\n".join(map(chr, range(sys.maxunicode + 1)))
    # The one character whose lower case is two.
    lower = every.lower().replace("i\u0307", "i")
    table = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), np.uint32)[::2].copy()
    table[:2] = 2  # control characters, whose codes have a meaning of their own here
    within = np.zeros(len(table), bool)
    for run in re.finditer(r"[^\W_]+" if form == "alphanumeric" else r"\S+", every[::2]):
        within[run.start() : run.end()] = True
    table[~within] = _BETWEEN
    if form == "unpunctuated":
        marks = [c for c in range(_LAST_PUNCTUATION) if unicodedata.category(chr(c)).startswith("P")]
        table[marks] = table[[ord(c) for c in string.punctuation]] = _DELETED
    return table


@compiled
def _next_word(codes: Any, table: Any, at: int) -> tuple[int, int, np.uint64]:
    """Start, end and hash of the first word at or behind `at`; start -1 if there is none."""
    start, filled, value = -1, False, _WORD_START
    while at < len(codes):
        folded = table[codes[at]]
        if folded == _BETWEEN:
            if filled:
                break
            start = -1
        else:
            if start < 0:
                start = at
            if folded != _DELETED:
                value = (value ^ np.uint64(folded)) * _WORD_FACTOR
                value ^= value >> np.uint64(32)
                filled = True
        at += 1
    return (start if filled else -1), at, mix(value)


@compiled
def _ngram_hashes(codes: Any, table: Any, n: int, hashes: Any) -> int:
    """Fill `hashes`, which must have room for every second character; returns how many there are."""
    recent = np.zeros(n, np.uint64)
    oldest_factor = np.uint64(1)
    for _ in range(n):
        oldest_factor *= _NGRAM_FACTOR
    total, words, slot, at = np.uint64(0), 0, 0, 0
    while True:
        start, at, value = _next_word(codes, table, at)
        if start < 0:
            return max(0, words - n + 1)
        total = total * _NGRAM_FACTOR + value - recent[slot] * oldest_factor
        recent[slot] = value
        slot = slot + 1 if slot + 1 < n else 0
        words += 1
        if words >= n:
            hashes[words - n] = mix(total)


@compiled
def _index(hashes: Any, shift: Any, first: Any, likely: Any) -> None:
    """Fill `first`, where the hashes with the same first bits begin, and `likely`.

    Hashes with the same first bits are one or two. A bit in `likely` stands for three bits more; it answers most
    look-ups, and stays in the processor's cache for longer.
    """
    for hash in hashes:
        first[np.int64(hash >> shift) + 1] += 1
        place = hash >> (shift - np.uint64(3))
        likely[np.int64(place >> np.uint64(3))] |= np.uint8(1) << np.uint8(place & np.uint64(7))
    for bucket in range(1, len(first)):
        first[bucket] += first[bucket - 1]


@compiled
def _find(codes: Any, table: Any, n: int, wanted: Any, shift: Any, first: Any, likely: Any, found: Any) -> int:
    """Fill `found` (index, start, end) as far as it goes; returns how many there are."""
    recent = np.zeros(n, np.uint64)
    starts = np.zeros(n, np.int64)
    oldest_factor = np.uint64(1)
    for _ in range(n):
        oldest_factor *= _NGRAM_FACTOR
    total, words, slot, at, count = np.uint64(0), 0, 0, 0, 0
    while True:
        start, at, value = _next_word(codes, table, at)
        if start < 0:
            return count
        total = total * _NGRAM_FACTOR + value - recent[slot] * oldest_factor
        recent[slot], starts[slot] = value, start
        slot = slot + 1 if slot + 1 < n else 0
        words += 1
        if words >= n:
            key = mix(total)
            bucket = np.int64(key >> shift)
            if (likely[bucket] >> np.uint8((key >> (shift - np.uint64(3))) & np.uint64(7))) & 1 == 0:
                continue
            for index in range(first[bucket], first[bucket + 1]):
                if wanted[index] == key:
                    if count < found.shape[1]:
                        found[0, count], found[1, count], found[2, count] = index, starts[slot], at
                    count += 1
