"""What a filter says about a document that it removes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Drop:
    """A verdict to remove.

    Attributes:
        reason: short name that the counts and the removal log carry.
        score: the number that decided, if there is one.
        detail: what a reader of the log needs beside it (the domain found, the language detected).
    """

    reason: str
    score: float | None = None
    detail: str = ""
