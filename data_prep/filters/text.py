"""Lines and words as the rules count them.

The last text is remembered, so that rules that follow each other do not split it again.
"""

from __future__ import annotations

from functools import lru_cache

END_MARKS = (".", "!", "?", '"', "'", "\u201d", "\u2019", "\u3002", "\uff01", "\uff1f", "\u2026")
"""Ends of a sentence: period, exclamation mark, question mark and closing quotation mark (C4), with their typographic
and East Asian forms and the ellipsis (ours)."""


@lru_cache(maxsize=1)
def lines(text: str) -> tuple[str, ...]:
    """The lines that are not blank, without the white space around them."""
    return tuple(line for raw in text.splitlines() if (line := raw.strip()))


@lru_cache(maxsize=1)
def words(text: str) -> tuple[str, ...]:
    """What stands between white space, punctuation included. Not for scripts that write without spaces."""
    return tuple(text.split())
