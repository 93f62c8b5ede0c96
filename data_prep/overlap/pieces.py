"""What is left of a text when the surroundings of some places are cut out of it (GPT-3, appendix C)."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]
"""First character, and behind the last one."""


def pieces(length: int, places: Iterable[Span], window: int) -> list[Span]:
    """The pieces of a text between the places, none of them empty, in order.

    Args:
        length: of the text, in characters.
        places: in the order of their starts; they may overlap.
        window: characters to cut on each side of a place.
    """
    found = []
    free = 0  # where the next piece would begin
    for start, end in places:
        if start - window > free:
            found.append((free, start - window))
        free = max(free, end + window)
    if free < length:
        found.append((free, length))
    return found
