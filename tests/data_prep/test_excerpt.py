from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from data_prep.excerpt import excerpt, printable


def test_what_controls_a_terminal_or_the_reading_direction_is_replaced() -> None:
    assert printable("a\x1b[31mred\x1b[0m\n\tb") == "a·[31mred·[0m b"
    assert printable("safe\u202egnp.exe") == "safe·gnp.exe"
    assert printable("  한국어  text ") == "한국어 text"


@given(st.text(st.characters(), max_size=300), st.integers(10, 80))
def test_an_excerpt_is_one_short_line_of_plain_characters(text: str, characters: int) -> None:
    shown = excerpt(text, characters)
    assert len(shown) <= characters
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert shown == printable(shown)


def test_only_what_is_cut_ends_with_an_ellipsis() -> None:
    assert excerpt("one two", 20) == "one two"
    assert excerpt("word " * 100, 10) == "word word…"
    assert excerpt(" " * 200 + "late", 10).endswith("…") is True
