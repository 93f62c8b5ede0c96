"""Text of the web made fit for showing: on a terminal it must not move the cursor, on a page not turn the reading."""

from __future__ import annotations

_SHOWN_AS = "\N{MIDDLE DOT}"


def printable(text: str) -> str:
    """One line, without characters that control a terminal or the direction of writing.

    Control and format characters (Unicode Cc, Cf: escape sequences, bidirectional overrides), surrogates and
    unassigned characters become a middle dot; runs of white space become one space.
    """
    return " ".join("".join(c if _is_plain(c) else _SHOWN_AS for c in " ".join(text.split())).split())


def excerpt(text: str, characters: int) -> str:
    """The beginning of a text as `printable`, with an ellipsis where it is cut."""
    # White space shrinks, so that a little more is looked at than is shown.
    line = printable(text[: 4 * characters])
    return line if len(line) <= characters and len(text) <= 4 * characters else line[: characters - 1].rstrip() + "…"


def _is_plain(character: str) -> bool:
    return character.isprintable() or character in "\u200c\u200d"  # joiners of Persian and of emoji
