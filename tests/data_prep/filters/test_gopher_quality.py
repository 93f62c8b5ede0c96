from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_texts import ENGLISH, document

from data_prep.drop import Drop
from data_prep.filters.gopher_quality import GopherQualitySettings, gopher_quality

GOOD = ENGLISH * 5
LONG = "seventeen-letters"


def verdict(text: str, **settings: object) -> tuple[str, float | None] | None:
    drop = gopher_quality(document(text), GopherQualitySettings.model_validate(settings))
    return drop and (drop.reason, drop.score)


def spread(total: int, marked: int, mark: str) -> str:
    """`total` words that offend nothing, `marked` of them with a mark."""
    plain = ["the", "cat", "and", "dogs", "slept"]
    return " ".join(plain[i % 5] + (mark if i < marked else "") for i in range(total))


def test_prose_passes() -> None:
    assert verdict(GOOD) is None


@pytest.mark.parametrize(
    ("inside", "outside", "reason"),
    [
        # "between 50 and 100,000 words"
        (spread(50, 0, ""), spread(49, 0, ""), "gopher-too-few-words"),
        (spread(100_000, 0, ""), spread(100_001, 0, ""), "gopher-too-many-words"),
        # "mean word length is outside the range of 3 to 10 characters"
        ("the and " * 50, "the and " * 49 + "on it", "gopher-short-words"),
        (f"the and {LONG} {LONG} " * 15, f"the and {LONG} {LONG} " * 15 + "elevenchars", "gopher-long-words"),
        # "symbol-to-word ratio greater than 0.1 for either the hash symbol or the ellipsis"
        (spread(100, 10, "#"), spread(100, 11, "#"), "gopher-hash-signs"),
        (spread(100, 10, "...") + " end", spread(100, 11, "\u2026"), "gopher-ellipses"),
        # "more than 90% of lines starting with a bullet point"
        ("- the cats and dogs\n" * 18 + "plain\n" * 2, "* the cats and dogs\n" * 19 + "cats\n", "gopher-bullet-lines"),
        # "more than 30% ending with an ellipsis"
        (
            ("the cat and the dog slept here ...\n" * 3) + ("the cat and the dog slept here\n" * 7),
            ("the cat and the dog slept here\u2026\n" * 4) + ("the cat and the dog slept here\n" * 6),
            "gopher-ellipsis-lines",
        ),
        # "80% of words in a document contain at least one alphabetic character"
        (
            "the cat and dogs 12345 " * 20,
            "the cat and dogs 12345 " * 19 + "the 1 222 33 4567",
            "gopher-few-alphabetic-words",
        ),
        # "at least two of the following English words"
        ("the cats sleep of course " * 12, "The cats sleep \u201cthe, course " * 12, "gopher-few-stop-words"),
    ],
    ids=lambda value: value if str(value).startswith("gopher") else "",
)
def test_each_limit_of_the_paper(inside: str, outside: str, reason: str) -> None:
    assert verdict(inside) is None
    found = verdict(outside)
    assert found is not None
    assert found[0] == reason


def test_stop_words_count_with_capitals_and_punctuation_around() -> None:
    assert verdict("Cats (The) sleep; 'And' dogs " * 12) is None


def test_scores_say_what_was_measured() -> None:
    assert verdict("the cat") == ("gopher-too-few-words", 2)
    assert verdict(spread(100, 20, "#")) == ("gopher-hash-signs", 0.2)


def test_for_another_language() -> None:
    korean = "안녕하세요 여러분, 오늘은 날씨가 아주 좋아서 산책을 나갔습니다. " * 10
    assert verdict(korean) == ("gopher-few-stop-words", 0)
    assert verdict(korean, min_stop_words=0) is None
    assert verdict(korean, stop_words=["오늘은", "아주"]) is None


def test_empty_text() -> None:
    assert verdict("") == ("gopher-too-few-words", 0)
    assert verdict(" \n", min_words=0) is None


@given(st.text(), st.integers(0, 3))
def test_no_text_raises_and_shares_are_shares(text: str, min_words: int) -> None:
    drop = gopher_quality(document(text), GopherQualitySettings(min_words=min_words))
    assert drop is None or (isinstance(drop, Drop) and drop.score is not None and drop.score >= 0)


@given(st.integers(0, 1000))
def test_the_order_of_lines_does_not_matter(seed: int) -> None:
    rows = ["- one the of", "two and ...", "three #", "12 34", "the cat sat on it", "x y z"] * 10
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert verdict("\n".join(rows)) == verdict("\n".join(shuffled))
