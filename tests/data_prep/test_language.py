from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from test_wikipedia import document

from data_prep.language import LanguageSettings, detect, language

ENGLISH = "The quick brown fox jumps over the lazy dog, and nobody in the whole village was surprised by that.\n"
TEXTS = {
    "en": ENGLISH,
    "ko": "안녕하세요 여러분, 오늘은 날씨가 아주 좋아서 산책을 나갔습니다.",
    "fr": "Le petit chat de la voisine dort toute la journée devant la fenêtre ouverte.",
    "de": "Der kleine Hund läuft jeden Morgen mit seinem Besitzer durch den ganzen Park.",
    "ja": "今日は天気がとても良いので、公園へ散歩に行きました。",
}


@pytest.mark.parametrize("code", list(TEXTS))
def test_detects(code: str) -> None:
    found, score = detect(TEXTS[code])
    assert found == code
    assert score > 0.7


def test_reads_the_whole_text() -> None:
    # The library's default, the first 80 characters, would say French.
    assert detect(TEXTS["fr"] + ENGLISH * 30)[0] == "en"


def test_capitals() -> None:
    assert detect(ENGLISH.upper()) == detect(ENGLISH.lower())


@given(st.text())
def test_no_text_raises(text: str) -> None:
    code, score = detect(text)
    assert code
    assert 0 <= score <= 1


def test_filter_sets_the_language_and_drops_others() -> None:
    english, korean = {**document("u"), "text": ENGLISH}, {**document("u"), "text": TEXTS["ko"]}
    assert language(english, LanguageSettings()) is None
    assert english["language"] == "en"
    drop = language(korean, LanguageSettings())
    assert drop is not None
    assert (drop.reason, drop.detail) == ("other-language", "ko")
    assert language(korean, LanguageSettings(target="ko")) is None
    assert language(korean, LanguageSettings(target=None)) is None
    unsure = language(english, LanguageSettings(min_score=1.0))
    assert unsure is not None
    assert unsure.reason == "uncertain-language"


def test_target_is_a_code() -> None:
    with pytest.raises(ValidationError):
        LanguageSettings(target="English")


def test_uses_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("network used")

    monkeypatch.setattr(socket, "socket", no_network)
    from data_prep.language import _detector

    _detector.cache_clear()
    assert detect(ENGLISH)[0] == "en"
