"""Sequences of tokens in a token dataset, by hashes of all its windows; exact but for one in 2^64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.shards import TokenSplit

Hashes = npt.NDArray[np.uint64]
_CHUNK = 1 << 20
_FACTOR = 0x9E3779B97F4A7C15
_INVERSE = pow(_FACTOR, -1, 1 << 64)
_PART = np.uint64(0xFFFF)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_KEPT = 1 << 21
"""Windows whose hashes are kept for counting, at most about."""


@dataclass(frozen=True)
class Passage:
    """A sequence of tokens of the training text.

    Attributes:
        ids: its tokens.
        count: how often it stands in the training text.
    """

    ids: list[int]
    count: int


def window_hashes(tokens: npt.NDArray[np.integer], length: int) -> Hashes:
    """Hash of each window of `length` tokens, which depends on its tokens alone; none if there are fewer.

    With powers of an odd p modulo 2^64, sum t_j p^(j - i) over a window from i on, by differences of prefix sums.
    """
    n = len(tokens) - length + 1
    if n <= 0:
        return np.empty(0, np.uint64)
    powers = np.full(len(tokens), _FACTOR, np.uint64)
    powers[0] = 1
    powers = np.cumprod(powers)
    inverse = np.full(n, _INVERSE, np.uint64)
    inverse[0] = 1
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((tokens.astype(np.uint64) + np.uint64(1)) * powers)])
    hashes = (sums[length:] - sums[:n]) * np.cumprod(inverse)
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX
    mixed: Hashes = hashes ^ (hashes >> np.uint64(29))
    return mixed


def chunks(split: TokenSplit, overlap: int) -> Iterator[tuple[int, npt.NDArray[np.integer]]]:
    """(place of its first token, tokens) of pieces of the text that overlap by so many tokens."""
    for start in range(0, max(1, split.tokens - overlap), _CHUNK):
        yield start, split.read(start, min(_CHUNK + overlap, split.tokens - start))


def stand_in(split: TokenSplit, wanted: Mapping[int, Hashes]) -> dict[int, set[int]]:
    """Length -> those of the wanted hashes of windows of that length that stand in the text; one pass."""
    longest = max(wanted)
    found: dict[int, set[int]] = {length: set() for length in wanted}
    for _, tokens in chunks(split, longest - 1):
        for length, hashes in wanted.items():
            here = window_hashes(tokens, length)
            # Most windows are seen to be none of them by a part of their hash, without a search.
            possible = np.zeros(1 << 16, bool)
            possible[hashes & _PART] = True
            here = here[possible[here & _PART]]
            found[length].update(here[np.isin(here, hashes)].tolist())
    return found


def longest_common(split: TokenSplit, texts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """(first token, length) of the longest part of each text that stands in the token dataset; the first of equals.

    By bisection, since what stands there has all its parts there: some eight passes over the dataset. Texts ask for the
    same lengths as far as they can, since each length that is asked for is a pass through all hashes.
    """
    low, high = [0] * len(texts), [len(text) for text in texts]
    arrays = [np.asarray(text, np.int64) for text in texts]
    where = [0] * len(texts)
    while any(a < b for a, b in zip(low, high, strict=True)):
        asked = {i: _between(low[i], high[i]) for i in range(len(texts)) if low[i] < high[i]}
        hashes = {(i, length): window_hashes(arrays[i], length) for i, some in asked.items() for length in some}
        wanted: dict[int, Hashes] = {}
        for (_, length), some in hashes.items():
            wanted[length] = np.union1d(wanted.get(length, np.empty(0, np.uint64)), some)
        found = stand_in(split, wanted)
        for (i, length), some in hashes.items():
            hits = [place for place, value in enumerate(some.tolist()) if value in found[length]]
            if hits and length > low[i]:
                low[i], where[i] = length, hits[0]
            elif not hits:
                high[i] = min(high[i], length - 1)
    return list(zip(where, low, strict=True))


def _between(low: int, high: int) -> list[int]:
    """Lengths to look for, above `low` and at most `high`: at first all powers of 2, then the roundest number."""
    if low == 0:
        return [1 << power for power in range(high.bit_length())]
    step = 1 << high.bit_length()
    while high // step * step <= low:
        step //= 2
    return [high // step * step]


def passages_by_count(
    split: TokenSplit, length: int, buckets: Sequence[tuple[int, int]], each: int, seed: int, eot_id: int
) -> dict[tuple[int, int], list[Passage]]:
    """Passages of the training text by how often they stand in it; none goes beyond its document.

    Of a large text only the windows with certain hashes are counted, so that all copies of one are or none.

    Args:
        split: the training text.
        length: tokens of a passage.
        buckets: (least, greatest) counts.
        each: passages in each bucket, at most.
        seed: of the draw.
        eot_id: id of <|endoftext|>, which is in no passage: what follows it was drawn at random.
    """
    share = np.uint64(max(1, split.tokens // _KEPT))
    kept: list[Hashes] = []
    places: list[npt.NDArray[np.int64]] = []
    for start, tokens in chunks(split, length - 1):
        hashes = window_hashes(tokens, length)
        ends = np.concatenate([[0], np.cumsum(tokens == eot_id)])
        mine = np.flatnonzero((hashes % share == 0) & (ends[length:] == ends[: len(hashes)]))
        kept.append(hashes[mine])
        places.append(mine + start)
    if not sum(map(len, kept)):
        return {bucket: [] for bucket in buckets}
    _, first, counts = np.unique(np.concatenate(kept), return_index=True, return_counts=True)
    place = np.concatenate(places)[first]
    generator = np.random.default_rng(seed)
    found: dict[tuple[int, int], list[Passage]] = {}
    for low, high in buckets:
        mine = np.flatnonzero((counts >= low) & (counts <= high))
        drawn = np.sort(generator.permutation(mine)[:each])
        found[low, high] = [Passage(split.read(int(place[i]), length).tolist(), int(counts[i])) for i in drawn]
    return found
