"""Sentences in several languages, and documents made of them."""

from __future__ import annotations

import small_corpus

from data_prep.documents import Document

ENGLISH = "The quick brown fox jumps over the lazy dog, and nobody in the whole village was surprised by that.\n"
TEXTS = {
    "en": ENGLISH,
    "ko": "안녕하세요 여러분, 오늘은 날씨가 아주 좋아서 산책을 나갔습니다.",
    "fr": "Le petit chat de la voisine dort toute la journée devant la fenêtre ouverte.",
    "de": "Der kleine Hund läuft jeden Morgen mit seinem Besitzer durch den ganzen Park.",
    "ja": "今日は天気がとても良いので、公園へ散歩に行きました。",
}


def document(text: str = "x", url: str = "https://a.com/1", metadata: str = "{}") -> Document:
    row = small_corpus.document(0, text, url=url)
    return {**row, "language": None, "metadata": metadata}  # type: ignore[typeddict-item]
