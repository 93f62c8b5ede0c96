"""The fast encoder gives the ids of Hugging Face's `tokenizers`."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer
from vocabularies import TEXTS, corpus, gpt2, library, needs_data, small

from data_prep.tokenizer import END_OF_TEXT, Tokenizer, train
from data_prep.tokenizer.fast import fast_encoder, slow_encoder

pytest.importorskip("fastokens", reason="no build of fastokens for this platform")

SMALL = library(train(iter(TEXTS), 320))
SCRIPTS = [
    *"aZé ß'’0９²½٣  \n\r\t\v\f\u0085\u00a0\u2003\u2028\u3000\ufeff\u180e\u200b\u200d\0\x1f",
    *"жЯдქართаΩλאבعربहिதมไทກខ한ㄱ국日本語龍ひカ",
    *"\u0301\u0903\ufe0f😀👨👩🏽🇰🇷\U00020000\U0001d400\U000323b0\ue000\ufffd\uffff\U0010ffff.,-_<|>!",
    "'s",
    "'ll",
    " don't",
    "  ",
    END_OF_TEXT,
    "end of text",
]
text = st.text() | st.lists(st.sampled_from(SCRIPTS), max_size=40).map("".join)


def assert_same(ours: Tokenizer, oracle: HuggingFaceTokenizer, texts: Sequence[str]) -> None:
    expected = oracle.encode_batch_fast(list(texts), add_special_tokens=False)
    ids, offsets = ours.encode_packed(texts)
    for one, wanted, (start, end) in zip(texts, expected, pairwise(offsets), strict=True):
        if not np.array_equal(ids[start:end], np.array(wanted.ids, np.uint32)):
            pytest.fail(f"other ids for {one[:200]!a}")


def test_without_the_package_the_library_itself_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = fast_encoder(SMALL), slow_encoder(SMALL)
    assert fast is not None
    for ours, oracle in zip(fast(["", *TEXTS]), slow(["", *TEXTS]), strict=True):
        assert ours.dtype == oracle.dtype and np.array_equal(ours, oracle)
    monkeypatch.setitem(sys.modules, "fastokens", None)
    assert fast_encoder(SMALL) is None
    assert Tokenizer(train(iter(TEXTS), 320)).encode(TEXTS[1]) == small().encode(TEXTS[1])


@settings(max_examples=300, deadline=None)
@given(st.lists(text, min_size=1, max_size=5))
def test_random_text_of_all_scripts(texts: list[str]) -> None:
    assert_same(small(), SMALL, texts)


@needs_data
@settings(max_examples=300, deadline=None)
@given(st.lists(text, min_size=1, max_size=5))
def test_random_text_with_the_vocabulary_of_gpt2(texts: list[str]) -> None:
    assert_same(*gpt2(), texts)


@needs_data
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_with_the_vocabulary_of_gpt2(data: bytes) -> None:
    assert_same(*gpt2(), [data.decode("utf-8", "replace"), data.decode("latin-1")])


@needs_data
@pytest.mark.parametrize("around", ["%s\n", "a%s1", "  %sx"])
def test_every_character_of_unicode(around: str) -> None:
    """Every assigned one, and some of those that are not."""
    kinds = ((c, unicodedata.category(chr(c))) for c in range(0x110000))
    one_each = [around % chr(c) for c, kind in kinds if kind != "Cs" and (kind not in ("Cn", "Co") or c % 16 == 0)]
    assert_same(*gpt2(), ["".join(one_each[i : i + 100]) for i in range(0, len(one_each), 100)])


@needs_data
@pytest.mark.parametrize("unit", ["a", " ", "\n", "7", "é", "日本", "😀", "\0", "ab ", "'s", END_OF_TEXT])
def test_long_runs(unit: str) -> None:
    times = 1_000_000 if unit in "a " else 100_000
    assert_same(*gpt2(), [unit * times, f"x{unit * times}y"])


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_en", "text_multi"])
def test_documents_of_a_corpus_and_none_is_changed(name: str) -> None:
    """A quarter of them: the benchmark compares every id of 100 MB."""
    texts = corpus(name)[::4]
    ours, oracle = gpt2()
    assert_same(ours, oracle, texts)
    assert all(ours.decode(ids) == one for one, ids in zip(texts, ours.encode_batch(texts), strict=True))
