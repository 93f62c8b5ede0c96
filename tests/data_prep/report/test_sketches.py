from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.report.sketches import FrequentItems, KeyedSample, LogHistogram

NUMBERS = st.lists(st.integers(0, 10**9), min_size=1, max_size=300)


def histogram(*parts: list[int]) -> LogHistogram:
    h = LogHistogram()
    for part in parts:
        h.add(np.array(part, np.int64))
    return h


@given(NUMBERS, st.floats(0.01, 0.99))
def test_a_quantile_is_right_to_its_bin(values: list[int], q: float) -> None:
    h = histogram(values[: len(values) // 2], values[len(values) // 2 :])
    exact = sorted(values)[int(np.ceil(q * len(values))) - 1]
    assert h.quantile(q) == pytest.approx(exact, rel=0.0125)
    assert (h.count, h.total, h.least, h.most) == (len(values), sum(values), min(values), max(values))
    assert h.mean == pytest.approx(sum(values) / len(values))


@given(NUMBERS)
def test_bars_hold_every_value_from_one_on_once(values: list[int]) -> None:
    bars = histogram(values).bars(10)
    assert sum(bar.count for bar in bars) == sum(value >= 1 for value in values)
    for bar in bars:
        # At a border the logarithm may round to either side.
        inside = sum(bar.low * (1 - 1e-9) <= v < bar.high * (1 - 1e-9) for v in values)
        assert abs(bar.count - inside) <= sum(abs(v / edge - 1) < 1e-8 for v in values for edge in (bar.low, bar.high))
    assert all(a.high == b.low for a, b in itertools.pairwise(bars))


def test_an_empty_histogram() -> None:
    h = histogram([])
    assert (h.quantile(0.5), h.mean, h.bars()) == (0.0, 0.0, [])


def test_frequent_items_are_exact_while_there_are_few() -> None:
    items = FrequentItems(capacity=4)
    items.add(Counter("aaabbcccc"))
    assert items.error == 0
    assert items.top(2) == [("c", 4), ("a", 3)]
    assert (items.count("b"), items.count("x"), len(items)) == (2, 0, 3)


@given(st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), max_size=400), st.integers(1, 6))
def test_counts_are_too_low_by_at_most_the_error_and_memory_is_bounded(stream: list[str], capacity: int) -> None:
    items, exact = FrequentItems(capacity), Counter(stream)
    for start in range(0, len(stream), 3):
        items.add(Counter(stream[start : start + 3]))
        assert len(items) <= 2 * capacity
    assert items.error <= len(stream) / (capacity + 1)
    for item, count in exact.items():
        assert count - items.error <= items.count(item) <= count


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=60), st.integers(0, 10), st.randoms())
def test_a_keyed_sample_does_not_depend_on_the_order(keys: list[int], n: int, rng: random.Random) -> None:
    if n == 0:
        return
    found = []
    for _ in range(2):
        sample = KeyedSample(n)
        for key in keys:
            if sample.wants(key):
                sample.add(key, key)
        found.append(sample.items)
        rng.shuffle(keys)
    assert found[0] == found[1] == sorted(keys)[:n]
