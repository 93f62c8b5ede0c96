"""Gopher's quality rules (Rae et al. 2021, appendix A1.1, "Quality Filtering").

The paper does not say what a word or a bullet point is. Here a word stands between white space, punctuation included;
lines are those that are not blank. Where punctuation marks are words of their own, as in datatrove, many more documents
fall under the least share of words with a letter: on pages of documentation 35 instead of 4 %.
"""

from __future__ import annotations

import re
import string

from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.filters.text import lines, words

BULLETS = ("\u2022", "\u25cf", "\u25cb", "\u25e6", "\u25aa", "\u25a0", "\u2023", "\u2043", "\u00b7", "-", "*", "\u2013")
"""Bullet points: the characters made for it, and what stands for them in plain text (ours)."""
ELLIPSES = ("...", "\u2026")
_LETTER = re.compile(r"[^\W\d_]")
_AROUND = string.punctuation + "\u201c\u201d\u2018\u2019\u2026"


class GopherQualitySettings(Settings):
    """The paper's values.

    Attributes:
        min_words: least number of words.
        max_words: greatest number of words.
        min_mean_word: least mean length of a word, in characters.
        max_mean_word: greatest mean length of a word, in characters.
        max_symbols: greatest ratio of hash signs, and of ellipses, to words.
        max_bullet_lines: greatest share of lines that start with a bullet point.
        max_ellipsis_lines: greatest share of lines that end with an ellipsis.
        min_alphabetic: least share of words with a letter.
        stop_words: words of the language, in lower case; the paper's are English.
        min_stop_words: how many different ones a document must hold; 0 for a language without such a list.
    """

    min_words: int = Field(default=50, ge=0)
    max_words: int = Field(default=100_000, gt=0)
    min_mean_word: float = Field(default=3.0, ge=0)
    max_mean_word: float = Field(default=10.0, gt=0)
    max_symbols: float = Field(default=0.1, ge=0)
    max_bullet_lines: float = Field(default=0.9, ge=0, le=1)
    max_ellipsis_lines: float = Field(default=0.3, ge=0, le=1)
    min_alphabetic: float = Field(default=0.8, ge=0, le=1)
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    min_stop_words: int = Field(default=2, ge=0)


def gopher_quality(document: Document, settings: GopherQualitySettings) -> Drop | None:
    """Drop a document outside one of the limits; the score is what was measured."""
    text = document["text"]
    found, rows = words(text), lines(text)
    count = len(found)
    if count < settings.min_words:
        return Drop("gopher-too-few-words", score=count)
    if count > settings.max_words:
        return Drop("gopher-too-many-words", score=count)
    if not count:
        return None
    mean = sum(map(len, found)) / count
    if mean < settings.min_mean_word:
        return Drop("gopher-short-words", score=mean)
    if mean > settings.max_mean_word:
        return Drop("gopher-long-words", score=mean)
    for reason, symbols in (("gopher-hash-signs", ("#",)), ("gopher-ellipses", ELLIPSES)):
        if (ratio := sum(map(text.count, symbols)) / count) > settings.max_symbols:
            return Drop(reason, score=ratio)
    if (share := sum(row.startswith(BULLETS) for row in rows) / len(rows)) > settings.max_bullet_lines:
        return Drop("gopher-bullet-lines", score=share)
    if (share := sum(row.endswith(ELLIPSES) for row in rows) / len(rows)) > settings.max_ellipsis_lines:
        return Drop("gopher-ellipsis-lines", score=share)
    # Most words are nothing but letters, which `isalpha` sees faster than an expression.
    without = sum(1 for word in found if not word.isalpha() and _LETTER.search(word) is None)
    if (share := (count - without) / count) < settings.min_alphabetic:
        return Drop("gopher-few-alphabetic-words", score=share)
    if (stops := _stop_words(found, settings)) < settings.min_stop_words:
        return Drop("gopher-few-stop-words", score=stops)
    return None


def _stop_words(found: tuple[str, ...], settings: GopherQualitySettings) -> int:
    """How many different stop words there are; counts no further than the least number."""
    left = set(settings.stop_words)
    for word in found:
        if len(settings.stop_words) - len(left) >= settings.min_stop_words:
            break
        left.discard(word.strip(_AROUND).lower())
    return len(settings.stop_words) - len(left)
