"""Finds the lines of a dump that no rule can keep, by two keys in their bytes: `"is_self"` and `"score"`.

Most submissions are self posts or have too little karma. To say so takes no JSON parser: in a line of JSON the bytes
`"score":` are a key wherever they stand, because a quote inside a string has a backslash before it. The key may also
belong to a post inside the post (of which this one is a crosspost). So a line is only set aside if the key says the
same everywhere in it; any other line, also one where the value is not what was expected, goes to the parser.

A compiled loop looks at 64 bytes at a time and is an order of magnitude faster than parsing. It is compiled on its
first use (about two seconds) and then kept beside this file or in the user's cache folder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.compiled import compiled

_NO_LIMIT = -(2**62)
_CHUNK = 32
_AHEAD = 16
_SCORE = np.frombuffer(b'"score":', np.uint8)
_IS_SELF = np.frombuffer(b'"is_self":', np.uint8)
"""More than the longest key with its quotes and colon."""


@dataclass(frozen=True)
class Found:
    """What one block holds.

    Attributes:
        lines: lines that are not empty.
        self_posts: of these, self posts.
        low_karma: of the rest, those with a score below the least.
        starts, ends: where the others are in the block, in bytes, without their newlines.
    """

    lines: int
    self_posts: int
    low_karma: int
    starts: list[int]
    ends: list[int]


class LineScan:
    """Divides blocks of whole lines.

    Args:
        least_score: lines with a lower score are set aside; None for no limit.
    """

    def __init__(self, least_score: int | None) -> None:
        self._least = _NO_LIMIT if least_score is None else least_score
        self._starts = np.empty(1 << 12, np.int64)
        self._ends = np.empty_like(self._starts)
        self._counts = np.zeros(3, np.int64)

    def __call__(self, block: memoryview) -> Found:
        """What `block` holds; a newline at its end may be missing."""
        data = np.frombuffer(block, np.uint8)
        while True:
            found = _scan(data, self._least, self._starts, self._ends, self._counts)
            if found <= len(self._starts):
                break
            self._starts, self._ends = np.empty(2 * found, np.int64), np.empty(2 * found, np.int64)
        lines, self_posts, low_karma = (int(count) for count in self._counts)
        return Found(lines, self_posts, low_karma, self._starts[:found].tolist(), self._ends[:found].tolist())


@compiled
def _distance(data: NDArray[np.uint8], at: np.uint64) -> np.uint8:
    """0 where a newline, `"sc` or `"i??s` (as in `"is_self"`) begins, else more.

    Without branches, so that the compiler can make vector instructions of it.
    """
    one, two, four = data[at + np.uint64(1)], data[at + np.uint64(2)], data[at + np.uint64(4)]
    score = np.uint8((one ^ np.uint8(115)) | (two ^ np.uint8(99)))
    self_ = np.uint8((one ^ np.uint8(105)) | (four ^ np.uint8(115)))
    key = np.uint8((data[at] ^ np.uint8(34)) | min(score, self_))
    return min(key, np.uint8(data[at] ^ np.uint8(10)))


@compiled
def _holds_mark(data: NDArray[np.uint8], at: int) -> bool:
    least = np.uint8(255)
    for p in range(np.uint64(at), np.uint64(at + _CHUNK)):
        least = min(least, _distance(data, p))
    return bool(least == 0)


@compiled
def _is_key(data: NDArray[np.uint8], at: int, key: NDArray[np.uint8]) -> bool:
    """Whether a key stands here that the byte before it does not make part of a string."""
    if at + len(key) > len(data) or (at > 0 and data[at - 1] == 92):  # a backslash
        return False
    matches = 0
    while matches < len(key) and data[at + matches] == key[matches]:
        matches += 1
    return matches == len(key)


@compiled
def _skip_spaces(data: NDArray[np.uint8], at: int) -> int:
    while at < len(data) and data[at] == 32:
        at += 1
    return at


@compiled
def _is_below(data: NDArray[np.uint8], at: int, least: int) -> bool:
    """Whether a whole number below `least` stands here, and nothing else before the next field."""
    at = _skip_spaces(data, at)
    negative = at < len(data) and data[at] == 45  # -
    at += int(negative)
    first, number = at, 0
    while at < len(data) and at < first + 15 and 48 <= data[at] <= 57:
        number = 10 * number + int(data[at]) - 48
        at += 1
    if at == first or at >= len(data) or (data[at] != 44 and data[at] != 125):  # , }
        return False
    return (-number if negative else number) < least


@compiled
def _scan(
    data: NDArray[np.uint8], least: int, starts: NDArray[np.int64], ends: NDArray[np.int64], counts: NDArray[np.int64]
) -> int:
    """Fills `starts`, `ends` as far as they go and `counts` (lines, self posts, low karma); returns lines left."""
    size = len(data)
    found = lines = self_posts = low_karma = 0
    line = at = 0
    is_self = is_link = low = high = 0
    while at < size:
        is_inside = at + _CHUNK + _AHEAD <= size
        if is_inside and not _holds_mark(data, at):
            at += _CHUNK
            continue
        for p in range(at, min(at + _CHUNK, size)):
            if is_inside and _distance(data, np.uint64(p)) != 0:
                continue
            if _is_key(data, p, _SCORE):
                if _is_below(data, p + len(_SCORE), least):
                    low += 1
                else:
                    high += 1
            elif _is_key(data, p, _IS_SELF):
                value = _skip_spaces(data, p + len(_IS_SELF))
                if value < size and data[value] == 116:  # t
                    is_self += 1
                else:
                    is_link += 1
            if data[p] == 10 or p == size - 1:
                end = p if data[p] == 10 else size
                if end > line:
                    lines += 1
                    if is_self and not is_link:
                        self_posts += 1
                    elif low and not high:
                        low_karma += 1
                    else:
                        if found < len(starts):
                            starts[found], ends[found] = line, end
                        found += 1
                line = p + 1
                is_self = is_link = low = high = 0
        at += _CHUNK
    counts[0], counts[1], counts[2] = lines, self_posts, low_karma
    return found
