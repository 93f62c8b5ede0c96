from __future__ import annotations

import pytest
from pydantic import ValidationError
from some_texts import document

from data_prep.drop import Drop
from data_prep.filters.length import LengthSettings, length


def test_counts_characters_not_bytes() -> None:
    settings = LengthSettings(min_chars=10)
    assert length(document("é" * 10), settings) is None
    assert length(document("é" * 9), settings) == Drop("too-short", 9)
    assert length(document(""), LengthSettings(min_chars=0)) is None


def test_words_if_asked_for() -> None:
    settings = LengthSettings(min_chars=0, min_words=3)
    assert length(document("one  two\nthree"), settings) is None
    assert length(document("one two-three"), settings) == Drop("too-few-words", 2)


@pytest.mark.parametrize("field", ["min_chars", "min_words"])
def test_negative_length_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        LengthSettings.model_validate({field: -1})
