"""Texts, a small vocabulary learned from them, and what others published, for tests of tokenizers."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
import zstandard
from tokenizers import Tokenizer as HuggingFaceTokenizer

from data_prep.tokenizer import END_OF_TEXT, Tokenizer, published, train

TEXTS = [
    "It was the best of times, it was the worst of times. " * 3,
    "naïve café — 日本語のテキスト, 한국어, русский; don't we'll 1234 5678\n\n\tindent",
    f"a {END_OF_TEXT} in the text {END_OF_TEXT}",
]
ROOT = Path(os.environ.get("WEBTEXT_DATA_ROOT", ""))
needs_data = pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
GPT2, GPT1 = ROOT / "gpt2_vocab", ROOT / "gpt1_vocab"


@functools.cache
def small() -> Tokenizer:
    """What is learned from `TEXTS`."""
    return Tokenizer(train(iter(TEXTS), 320))


def library(data: bytes) -> HuggingFaceTokenizer:
    """The oracle for a `tokenizer.json`."""
    found = HuggingFaceTokenizer.from_str(data.decode())
    found.encode_special_tokens = True
    return found


@functools.cache
def gpt2() -> tuple[Tokenizer, HuggingFaceTokenizer]:
    """OpenAI's vocabulary, ours and the oracle's."""
    data = published.read(str(GPT2))
    return Tokenizer(data), library(data)


def corpus(name: str) -> list[str]:
    """The documents of text_en or text_multi."""
    with zstandard.open(ROOT / name / f"{name}.jsonl.zst", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]
