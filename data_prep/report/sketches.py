"""Statistics of a stream in constant memory: a logarithmic histogram, frequent items, a keyed sample."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_PER_DECADE = 100
_DECADES = 12


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: how many values v with low <= v < high."""

    low: float
    high: float
    count: int


class LogHistogram:
    """Counts of whole numbers on a logarithmic scale of 100 bins a decade; values below 1 are one bin.

    Attributes:
        count: how many values.
        total: their sum.
        least: the smallest; 0 if there are none.
        most: the largest.
    """

    def __init__(self) -> None:
        self._bins = np.zeros(1 + _PER_DECADE * _DECADES, np.int64)
        self.count = self.total = self.least = self.most = 0

    def add(self, values: npt.NDArray[np.int64]) -> None:
        """Take in [n] values."""
        if not len(values):
            return
        positive = np.maximum(values, 1)
        bins = np.where(values < 1, 0, 1 + np.floor(np.log10(positive) * _PER_DECADE).astype(np.int64))
        self._bins += np.bincount(np.minimum(bins, len(self._bins) - 1), minlength=len(self._bins))
        least, most = int(values.min()), int(values.max())
        self.least, self.most = (min(self.least, least), max(self.most, most)) if self.count else (least, most)
        self.count += len(values)
        self.total += int(values.sum())

    @property
    def mean(self) -> float:
        """Arithmetic mean, exact; 0 if there are no values."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """The value below which a share q of the values lies, right to 1.2 %; 0 if there are no values."""
        if not self.count:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self._bins), q * self.count))
        middle = 0.0 if at == 0 else float(10 ** ((at - 0.5) / _PER_DECADE))
        return float(min(max(middle, self.least), self.most))

    def bars(self, per_decade: int = 10) -> list[Bar]:
        """Bars from the first to the last that is not empty; `per_decade` divides 100. Values below 1 are left out."""
        counts = self._bins[1:].reshape(-1, _PER_DECADE // per_decade).sum(axis=1)
        used = np.flatnonzero(counts)
        if not len(used):
            return []
        return [
            Bar(10 ** (i / per_decade), 10 ** ((i + 1) / per_decade), int(counts[i]))
            for i in range(used[0], used[-1] + 1)
        ]


class FrequentItems:
    """The most frequent items of a stream (Misra and Gries 1982), exact while there are few different ones.

    A count is too low by at most `error`, which is at most the length of the stream / `capacity`.

    Args:
        capacity: items kept; twice as many are held for a moment.
    """

    def __init__(self, capacity: int = 1 << 16) -> None:
        self._capacity = capacity
        self._counts: Counter[str] = Counter()
        self.error = 0

    def add(self, items: Counter[str]) -> None:
        """Take in counted items."""
        self._counts.update(items)
        if len(self._counts) > 2 * self._capacity:
            # Agarwal et al. 2012, section 3.1: subtract the largest count that does not fit, keep what remains.
            spare = sorted(self._counts.values(), reverse=True)[self._capacity]
            self._counts = Counter({item: n - spare for item, n in self._counts.items() if n > spare})
            self.error += spare

    def top(self, n: int) -> list[tuple[str, int]]:
        """The n most frequent, equal ones by name."""
        return sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:n]

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, item: str) -> int:
        """How often an item was seen, or less by at most `error`."""
        return self._counts[item]


class KeyedSample:
    """The n items with the smallest keys, whatever the order in which they come.

    Args:
        n: how many.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._heap: list[tuple[int, int, Any]] = []  # largest key first
        self._seen = 0

    def wants(self, key: int) -> bool:
        """Whether an item with this key would be kept as things stand."""
        return len(self._heap) < self._n or key < -self._heap[0][0]

    def add(self, key: int, item: Any) -> None:
        """Take in an item."""
        self._seen += 1
        entry = (-key, -self._seen, item)  # of equal keys the first stays
        if len(self._heap) < self._n:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    @property
    def items(self) -> list[Any]:
        """What is kept, by key."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]
