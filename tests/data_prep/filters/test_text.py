from __future__ import annotations

from data_prep.filters.text import lines, words


def test_blank_lines_are_none() -> None:
    assert lines(" a \n\n\t\nb\r\nc") == ("a", "b", "c")
    assert lines("") == ()


def test_words_keep_their_punctuation() -> None:
    assert words("One, two\n three.") == ("One,", "two", "three.")
