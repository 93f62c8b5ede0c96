from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from data_prep.overlap.pieces import pieces

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=6)


@given(st.integers(0, 80), SPANS, st.integers(0, 10))
def test_what_is_left_is_exactly_what_no_window_covers(length: int, spans: list[tuple[int, int]], window: int) -> None:
    places = sorted((start, start + width) for start, width in spans)
    covered = {i for start, end in places for i in range(start - window, end + window)}
    found = pieces(length, places, window)
    left = [i for i in range(length) if i not in covered]
    assert [i for start, end in found for i in range(start, min(end, length))] == left
    assert all(end > start for start, end in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))


def test_of_a_text_without_places_all_is_left() -> None:
    assert pieces(5, [], 200) == [(0, 5)]
    assert pieces(0, [], 200) == []
