"""FineWeb's own three rules (Penedo et al. 2024, section 3.4 "Developing additional heuristic filters").

A closing quotation mark ends a line as a period does (`END_MARKS`). datatrove's filter of the same name differs from
the paper in its defaults (0.01 for duplicated characters, and a fourth rule, on line breaks to words).
"""

from __future__ import annotations

from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.filters.gopher_repetition import repeated_share
from data_prep.filters.text import END_MARKS, lines


class FineWebSettings(Settings):
    """The paper's values; lines are those that are not blank.

    Attributes:
        min_punctuated_lines: a share of lines that end with a mark of punctuation up to this is too small.
        max_duplicate_line_chars: a share of characters in lines that stood before from this on is too great.
        max_short_lines: a share of short lines from this on is too great.
        short_line: characters from which on a line is not short.
    """

    min_punctuated_lines: float = Field(default=0.12, ge=0, le=1)
    max_duplicate_line_chars: float = Field(default=0.1, ge=0, le=1)
    max_short_lines: float = Field(default=0.67, ge=0, le=1)
    short_line: int = Field(default=30, ge=0)


def fineweb(document: Document, settings: FineWebSettings) -> Drop | None:
    """Drop a document over one of the limits; the score is the share."""
    rows = lines(document["text"])
    if not rows:
        return None
    if (share := sum(row.endswith(END_MARKS) for row in rows) / len(rows)) <= settings.min_punctuated_lines:
        return Drop("fineweb-few-punctuated-lines", score=share)
    if (share := repeated_share(rows)[1]) >= settings.max_duplicate_line_chars:
        return Drop("fineweb-duplicate-lines", score=share)
    if (share := sum(len(row) < settings.short_line for row in rows) / len(rows)) >= settings.max_short_lines:
        return Drop("fineweb-short-lines", score=share)
    return None
