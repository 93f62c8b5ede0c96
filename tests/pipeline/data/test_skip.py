from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.skip import merged, take

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 80)), max_size=6)


@given(RANGES)
def test_merged_ranges_hold_the_same_numbers_and_are_as_few_as_can_be(ranges: list[tuple[int, int]]) -> None:
    found = merged(ranges)
    inside = {n for first, end in ranges for n in range(first, end)}
    assert {n for first, end in found for n in range(first, end)} == inside
    for (_, end), (first, _) in pairwise(found):
        assert end < first


@given(RANGES, st.integers(0, 90), st.integers(1, 50))
def test_take_gives_the_next_numbers_outside_of_the_ranges(
    ranges: list[tuple[int, int]], first: int, count: int
) -> None:
    skip = merged(ranges)
    expected = [n for n in range(first, 400) if not any(a <= n < b for a, b in skip)][:count]
    found = take(first, count, skip)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_a_huge_range_costs_nothing() -> None:
    assert take(5, 3, ((6, 10**15),)).tolist() == [5, 10**15, 10**15 + 1]
