"""Exact Jaccard similarity of the sets of word n-grams of texts, of many pairs at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.compiled import compiled
from data_prep.dedup.shingles import (
    Bytes,
    Characters,
    Hashes,
    Numbers,
    Texts,
    characters,
    join_words,
    powers,
    read_words,
    shingles,
)


@dataclass(frozen=True)
class ShingleSets:
    """Sets of hashes of n-grams.

    Attributes:
        hashes: those of all sets, each set sorted and without repeats.
        bounds: [n + 1] set i is `hashes[bounds[i] : bounds[i + 1]]`.
    """

    hashes: Hashes
    bounds: Numbers

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @staticmethod
    def of(texts: Texts, ngram: int) -> ShingleSets:
        """The sets of some texts. Memory: 8 bytes a word, and 12 a byte of the longest text."""
        lengths = np.diff(texts.bounds)
        # A word has at least one byte, and one stands between two.
        hashes = np.empty(int((lengths // 2 + 1).sum()), np.uint64)
        bounds = np.zeros(len(texts) + 1, np.int64)
        words = np.empty(int(lengths.max(initial=0)) // 2 + 1, np.uint64)
        _fill(texts.data, texts.bounds, characters(), ngram, powers(), words, hashes, bounds)
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            hashes[start:end].sort()
        _drop_repeats(hashes, bounds)
        return ShingleSets(hashes[: bounds[-1]].copy(), bounds)

    @staticmethod
    def together(parts: Sequence[ShingleSets]) -> ShingleSets:
        """The sets of all parts in order."""
        starts = np.cumsum([0, *(len(part.hashes) for part in parts)])
        bounds = [part.bounds[:-1] + start for part, start in zip(parts, starts, strict=False)]
        return ShingleSets(np.concatenate([part.hashes for part in parts]), np.concatenate([*bounds, starts[-1:]]))


def similarities(left: ShingleSets, right: ShingleSets, left_at: Numbers, right_at: Numbers) -> npt.NDArray[np.float64]:
    """[n] Jaccard similarity of set `left_at[i]` of `left` and set `right_at[i]` of `right`; 0 if both are empty."""
    found = np.empty(len(left_at), np.float64)
    _compare(left.hashes, left.bounds, left_at, right.hashes, right.bounds, right_at, found)
    return found


def jaccard(left: str, right: str, ngram: int) -> float:
    """Jaccard similarity of the word n-grams of two texts; 0 if neither has words."""
    one, other = (np.unique(shingles(text, ngram)) for text in (left, right))
    union = len(np.union1d(one, other))
    return (len(one) + len(other) - union) / union if union else 0.0


@compiled
def _fill(
    data: Bytes,
    text_bounds: Numbers,
    lower: Characters,
    ngram: int,
    factors: Hashes,
    words: Hashes,
    hashes: Hashes,
    bounds: Numbers,
) -> None:
    for text in range(len(text_bounds) - 1):
        _, count = read_words(data, text_bounds[text], text_bounds[text + 1], lower, words, 0)
        start = bounds[text]
        bounds[text + 1] = start + join_words(words, count, ngram, factors, hashes[start:])


@compiled
def _drop_repeats(hashes: Hashes, bounds: Numbers) -> None:
    """Close up sorted sets so that each value stands once; `bounds` move with them."""
    filled = 0
    for text in range(len(bounds) - 1):
        start, end = bounds[text], bounds[text + 1]
        bounds[text] = filled
        for i in range(start, end):
            if i == start or hashes[i] != hashes[i - 1]:
                hashes[filled] = hashes[i]
                filled += 1
    bounds[len(bounds) - 1] = filled


@compiled
def _compare(
    left: Hashes,
    left_bounds: Numbers,
    left_at: Numbers,
    right: Hashes,
    right_bounds: Numbers,
    right_at: Numbers,
    found: npt.NDArray[np.float64],
) -> None:
    for pair in range(len(left_at)):
        i, last_i = left_bounds[left_at[pair]], left_bounds[left_at[pair] + 1]
        j, last_j = right_bounds[right_at[pair]], right_bounds[right_at[pair] + 1]
        total = (last_i - i) + (last_j - j)
        common = 0
        while i < last_i and j < last_j:
            a, b = left[i], right[j]
            common += int(a == b)
            i += int(a <= b)
            j += int(b <= a)
        found[pair] = common / (total - common) if total else 0.0
