from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_texts import ENGLISH, document

from data_prep.filters.fineweb import FineWebSettings, fineweb


def verdict(text: str) -> tuple[str, float | None] | None:
    drop = fineweb(document(text), FineWebSettings())
    return drop and (drop.reason, drop.score)


def rows(count: int, end: str, length: int = 40) -> list[str]:
    """Different lines of a length with an end."""
    return [f"{i:05d}{end!r}".ljust(length - len(end), "x") + end for i in range(count)]


@pytest.mark.parametrize(
    ("inside", "outside", "reason"),
    [
        # the fraction of lines ending with punctuation <= 0.12
        (rows(13, ".") + rows(87, "-"), rows(12, ".") + rows(88, "-"), "fineweb-few-punctuated-lines"),
        # the fraction of characters in duplicated lines >= 0.1
        (rows(91, ".") + rows(9, "."), rows(90, ".") + rows(10, "."), "fineweb-duplicate-lines"),
        # the fraction of lines shorter than 30 characters >= 0.67
        (rows(66, ".", 29) + rows(34, "!", 30), rows(67, ".", 29) + rows(33, "!", 30), "fineweb-short-lines"),
    ],
)
def test_each_limit_of_the_paper(inside: list[str], outside: list[str], reason: str) -> None:
    assert verdict("\n".join(inside)) is None
    found = verdict("\n\n".join(outside))  # blank lines do not count
    assert found is not None
    assert found[0] == reason


def test_prose_passes() -> None:
    assert verdict(ENGLISH) is None
    assert verdict("오늘은 날씨가 아주 좋아서 모두 함께 산책을 나갔습니다 그렇죠?") is None


@given(st.text())
def test_no_text_raises_and_shares_are_shares(text: str) -> None:
    drop = fineweb(document(text), FineWebSettings())
    assert drop is None or (drop.score is not None and 0 <= drop.score <= 1)
