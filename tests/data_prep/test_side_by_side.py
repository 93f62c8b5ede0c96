from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from data_prep.side_by_side import Passage, side_by_side

WORDS = st.lists(st.sampled_from("abc"), max_size=30).map(" ".join)


def test_the_passages_begin_a_little_before_the_first_difference() -> None:
    same = [f"w{i}" for i in range(50)]
    one, other = side_by_side(" ".join([*same, "x", "end"]), "\n".join([*same, "y", "z", "end", "more"]), 14)
    assert (one.first, other.first) == (42, 42)
    assert [word for word, differs in one.words if differs] == ["x"]
    assert [word for word, differs in other.words if differs] == ["y", "z", "more"]
    assert [word for word, differs in one.words if not differs] == [*same[42:], "end"]


def test_equal_and_empty_texts() -> None:
    assert side_by_side("a b", "a  b") == (Passage(0, (("a", False), ("b", False))),) * 2
    assert side_by_side("", "a") == (Passage(0, ()), Passage(0, (("a", True),)))
    assert side_by_side("", "") == (Passage(0, ()),) * 2


@given(WORDS, WORDS)
def test_what_is_not_marked_stands_in_both_in_order(one: str, other: str) -> None:
    left, right = side_by_side(one, other, 100)
    assert [w for w, differs in left.words if not differs] == [w for w, differs in right.words if not differs]
    assert [w for w, _ in left.words] == one.split()[left.first :]
    assert [w for w, _ in right.words] == other.split()[right.first :]
    assert one.split()[: left.first] == other.split()[: right.first]
