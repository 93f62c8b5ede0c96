"""Ranges of samples that are left out, in closed form."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.data.order import Int

Ranges = tuple[tuple[int, int], ...]
"""[first, end) of sample numbers; ascending, with samples between them."""


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Any ranges, as few as possible: those that touch or overlap become one, empty ones go."""
    found: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif first < end:
            found.append((first, end))
    return tuple(found)


def take(first: int, count: int, skip: Ranges) -> Int:
    """[count] sample numbers from `first` on that lie in no range of `skip`.

    Args:
        first: sample number to begin at.
        count: how many, at least one.
        skip: of `merged`.
    """
    parts = []
    for begin, end in skip:
        if end <= first:
            continue
        free = min(count, begin - first)
        if free > 0:
            parts.append(np.arange(first, first + free, dtype=np.int64))
            count -= free
        if count == 0:
            break
        first = max(first, end)
    if count > 0:
        parts.append(np.arange(first, first + count, dtype=np.int64))
    return np.concatenate(parts)
