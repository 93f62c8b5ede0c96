"""Gopher's repetition rules (Rae et al. 2021, appendix A1.1, "Repetition Removal", Table A1).

Where the paper leaves a choice: of several copies of a line, paragraph or n-gram the first is no duplicate (as in
datatrove, community); shares of characters are of the characters of all lines, paragraphs or words, the white space
between them not counted; a character inside several duplicate n-grams counts once (the paper); of n-grams that
occur equally often the longest in characters is the top one; an n-gram that occurs once is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.filters.text import lines, words

Numbers = npt.NDArray[np.int64]

FIRST, TOP, LAST = 2, 4, 10
"""n of the n-grams: the top one for 2 to 4, duplicate ones for 5 to 10."""
_BLANK_LINES = re.compile(r"\n\s*\n")


class GopherRepetitionSettings(Settings):
    """Greatest shares, the values of Table A1.

    Attributes:
        max_duplicate_lines: of the lines, those that stood before.
        max_duplicate_paragraphs: of the paragraphs (between blank lines), those that stood before.
        max_duplicate_line_chars: of the characters, those in lines that stood before.
        max_duplicate_paragraph_chars: of the characters, those in paragraphs that stood before.
        max_top_ngram_chars: of the characters, those in the most frequent 2-, 3- and 4-gram.
        max_duplicate_ngram_chars: of the characters, those in 5-, 6-, ... 10-grams that stood before.
    """

    max_duplicate_lines: float = Field(default=0.30, ge=0, le=1)
    max_duplicate_paragraphs: float = Field(default=0.30, ge=0, le=1)
    max_duplicate_line_chars: float = Field(default=0.20, ge=0, le=1)
    max_duplicate_paragraph_chars: float = Field(default=0.20, ge=0, le=1)
    max_top_ngram_chars: tuple[float, float, float] = (0.20, 0.18, 0.16)
    max_duplicate_ngram_chars: tuple[float, float, float, float, float, float] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)


def gopher_repetition(document: Document, settings: GopherRepetitionSettings) -> Drop | None:
    """Drop a document over one of the limits; the score is the share."""
    text = document["text"]
    for unit, pieces, most, most_chars in (
        ("line", lines(text), settings.max_duplicate_lines, settings.max_duplicate_line_chars),
        ("paragraph", paragraphs(text), settings.max_duplicate_paragraphs, settings.max_duplicate_paragraph_chars),
    ):
        share, chars = repeated_share(pieces)
        if share > most:
            return Drop(f"gopher-duplicate-{unit}s", score=share)
        if chars > most_chars:
            return Drop(f"gopher-duplicate-{unit}-characters", score=chars)
    limits = (*settings.max_top_ngram_chars, *settings.max_duplicate_ngram_chars)
    for limit, (n, share) in zip(limits, ngram_shares(words(text)), strict=False):
        if share > limit:
            return Drop(f"gopher-top-{n}-gram" if n <= TOP else f"gopher-duplicate-{n}-grams", score=share)
    return None


def paragraphs(text: str) -> list[str]:
    """What stands between blank lines, without the white space around it."""
    return [piece for raw in _BLANK_LINES.split(text) if (piece := raw.strip())]


def repeated_share(pieces: Sequence[str]) -> tuple[float, float]:
    """Of some pieces, the share that stood before, by number and by characters; 0 if there is none."""
    distinct = set(pieces)
    if len(distinct) == len(pieces):
        return 0.0, 0.0
    characters = sum(map(len, pieces))
    repeated = characters - sum(map(len, distinct))
    return (len(pieces) - len(distinct)) / len(pieces), repeated / characters


def ngram_shares(found: Sequence[str]) -> Iterator[tuple[int, float]]:
    """(n, share of characters) for n = 2 ... 10: in the top n-gram up to 4, in repeated n-grams from 5 on.

    Stops at the first n without a repeat, as no longer n-gram has one.

    Args:
        found: the words of a text.
    """
    number: dict[str, int] = {}
    single = np.fromiter((number.setdefault(word, len(number)) for word in found), np.int64, len(found))
    length = np.fromiter(map(len, found), np.int64, len(found))
    total = int(length.sum())
    # Where an n-gram that occurs twice may start, and which (n-1)-gram starts there.
    at, group = np.arange(len(found)), single
    for n in range(FIRST, LAST + 1):
        inside = at + n <= len(found)
        at, group = at[inside], group[inside]
        # Two numbers below the number of words in one, so that equal n-grams, and only they, have equal keys.
        _, first, group, count = np.unique(
            group * len(number) + single[at + n - 1], return_index=True, return_inverse=True, return_counts=True
        )
        if not len(count) or count.max() < 2:
            return
        if n <= TOP:
            yield n, _covered(at[group == _top(at[first], count, length, n)], length, n) / total
        else:
            repeat = np.ones(len(at), bool)
            repeat[first] = False
            yield n, _covered(at[repeat], length, n) / total
        several = count[group] > 1
        at, group = at[several], group[several]


def _top(first: Numbers, count: Numbers, length: Numbers, n: int) -> int:
    """The n-gram that occurs most often, of those the longest, of those the first in the text."""
    most = np.flatnonzero(count == count.max())
    size = np.array([length[start : start + n].sum() for start in first[most]])
    longest = most[size == size.max()]
    return int(longest[np.argmin(first[longest])])


def _covered(starts: Numbers, length: Numbers, n: int) -> int:
    """Characters of the words inside n-grams that start at some places."""
    edges = np.zeros(len(length) + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + n, -1)
    return int(length[np.cumsum(edges[:-1]) > 0].sum())
