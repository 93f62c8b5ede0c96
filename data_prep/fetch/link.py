"""A link to fetch, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

FETCHED = "fetched"
"""The page was recorded."""
REVISIT = "revisit"
"""The page was recorded as the same payload as an earlier one."""


@dataclass(frozen=True)
class Link:
    """A link to fetch.

    Attributes:
        number: its position in the task.
        id: of its canonical URL.
        url: canonical URL.
        posted_url: as submitted, which is what is requested.
    """

    number: int
    id: str
    url: str
    posted_url: str


@dataclass(frozen=True)
class Finished:
    """A link that has ended.

    Attributes:
        number: its position in the task.
        outcome: FETCHED, REVISIT or the reason why it gave nothing.
        id: of its canonical URL.
        url: canonical URL.
        detail: what a reader of the removal log needs beside the reason.
        seconds: how long it took, waiting for turns included.
        redirects: how many led to the page.
    """

    number: int
    outcome: str
    id: str
    url: str
    detail: str
    seconds: float
    redirects: int
