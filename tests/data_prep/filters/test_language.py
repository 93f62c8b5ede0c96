from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from some_texts import ENGLISH, TEXTS, document

from data_prep.filters import language as module
from data_prep.filters.language import LANGUAGES, LanguageSettings, detect, language


@pytest.mark.parametrize("code", list(TEXTS))
def test_detects(code: str) -> None:
    found, score = detect(TEXTS[code])
    assert found == code
    assert score > 0.7


def test_reads_the_whole_text() -> None:
    # The library's default, the first 80 characters, would say French.
    assert detect(TEXTS["fr"] + ENGLISH * 30)[0] == "en"
    assert detect((TEXTS["fr"] + "\n") * 300 + ENGLISH * 1000)[0] == "en"
    assert detect((TEXTS["fr"] + "\n") * 1000 + ENGLISH * 300)[0] == "fr"


def test_code_between_the_sentences_makes_it_no_less_english() -> None:
    code = "\n".join(f"x_{i} = np.zeros((3, {i}), dtype=float)[::2] # 0x{i:04x}" for i in range(40))
    code_alone, score_alone = detect(code)
    assert (code_alone, score_alone > 0.65) != ("en", True)
    code_found, score = detect(ENGLISH * 2 + code)
    assert code_found == "en"
    assert score > 0.8
    assert detect(TEXTS["ja"] * 6 + code * 5)[0] == "ja"
    assert detect(TEXTS["fr"] * 2 + code)[0] == "fr"


def test_capitals() -> None:
    assert detect(ENGLISH.upper()) == detect(ENGLISH.lower())


@given(st.text())
def test_no_text_raises(text: str) -> None:
    code, score = detect(text)
    assert code
    assert 0 <= score <= 1


def test_sets_the_language_and_drops_others() -> None:
    english, korean = document(ENGLISH), document(TEXTS["ko"])
    assert language(english, LanguageSettings()) is None
    assert english["language"] == "en"
    drop = language(korean, LanguageSettings())
    assert drop is not None
    assert (drop.reason, drop.detail) == ("other-language", "ko")
    assert language(korean, LanguageSettings(target=("ko",))) is None
    assert language(korean, LanguageSettings(target=None)) is None
    assert korean["language"] == "ko"
    unsure = language(english, LanguageSettings(min_score=1.0))
    assert unsure is not None
    assert unsure.reason == "uncertain-language"


def test_several_targets() -> None:
    both = LanguageSettings.model_validate({"target": ["en", "ko"]})
    kept = [code for code in TEXTS if language(document(TEXTS[code]), both) is None]
    assert kept == ["en", "ko"]
    assert LanguageSettings.model_validate({"target": "ko"}).target == ("ko",)


@pytest.mark.parametrize("target", ["English", "eng", [], ["en", "kor"], ""])
def test_targets_are_codes_of_the_model(target: object) -> None:
    with pytest.raises(ValidationError):
        LanguageSettings.model_validate({"target": target})


def test_the_codes_are_those_of_the_model() -> None:
    assert len(LANGUAGES) == 176
    texts = [*TEXTS.values(), "", "a", "1", "\u0e01\u0e02", "\u03b1\u03b2", "la la", "de het een"]
    found = {row["lang"] for text in texts for row in module._detector().detect(text or ".", model="lite", k=176)}
    assert len(found) > 100
    assert found <= LANGUAGES


def test_uses_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("network used")

    monkeypatch.setattr(socket, "socket", no_network)
    module._detector.cache_clear()
    assert detect(ENGLISH)[0] == "en"
