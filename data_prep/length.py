"""Removes short documents: stubs, error pages and what extraction left of pages made of pictures.

OpenWebText removes documents of fewer than 128 tokens (community). The tokenizer of this chain does not exist yet when
documents are filtered, so that the limit is in characters.
"""

from __future__ import annotations

from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop


class LengthSettings(Settings):
    """Attributes:
    min_chars: least length in characters (Unicode code points). 200 (ours) is the least piece of text that
        GPT-3 keeps in its decontamination (appendix C); 128 tokens (community, OpenWebText) are about 550.
    """

    min_chars: int = Field(default=200, ge=0)


def length(document: Document, settings: LengthSettings) -> Drop | None:
    """Drop a document shorter than the limit; the score is its length."""
    characters = len(document["text"])
    return Drop("too-short", score=characters) if characters < settings.min_chars else None
