"""Removes short documents: stubs, error pages and what extraction left of pages made of pictures.

OpenWebText removes documents of fewer than 128 tokens (community). The tokenizer of this chain does not exist yet when
documents are filtered, so that the limits are in characters and words.
"""

from __future__ import annotations

from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.filters.text import words


class LengthSettings(Settings):
    """Attributes:
    min_chars: least length in characters (Unicode code points). 200 (ours) is the least piece of text that
        GPT-3 keeps in its decontamination (appendix C); 128 tokens (community, OpenWebText) are about 550.
    min_words: least number of words between white space; 0 for no limit. Not for scripts without spaces.
    """

    min_chars: int = Field(default=200, ge=0)
    min_words: int = Field(default=0, ge=0)


def length(document: Document, settings: LengthSettings) -> Drop | None:
    """Drop a document shorter than the limits; the score is its length."""
    text = document["text"]
    if len(text) < settings.min_chars:
        return Drop("too-short", score=len(text))
    if settings.min_words and (count := len(words(text))) < settings.min_words:
        return Drop("too-few-words", score=count)
    return None
