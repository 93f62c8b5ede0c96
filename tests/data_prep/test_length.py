from __future__ import annotations

import pytest
from pydantic import ValidationError
from test_wikipedia import document

from data_prep.drop import Drop
from data_prep.length import LengthSettings, length


def test_counts_characters_not_bytes() -> None:
    settings = LengthSettings(min_chars=10)
    assert length({**document("u"), "text": "é" * 10}, settings) is None
    assert length({**document("u"), "text": "é" * 9}, settings) == Drop("too-short", 9)
    assert length({**document("u"), "text": ""}, LengthSettings(min_chars=0)) is None


def test_negative_length_is_refused() -> None:
    with pytest.raises(ValidationError):
        LengthSettings(min_chars=-1)
