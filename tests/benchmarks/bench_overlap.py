"""The text pass of the overlap table and of the decontamination, beside the same look-up in plain Python and janitor.

Both peers get the n-grams of the same evaluation set. The plain one splits and joins words and looks them up in a
Python set, as datatrove's decontamination and lm-evaluation-harness's `janitor` do; the latter runs if installed.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from measure import Row, alternate

from data_prep.dumps import DumpReader
from data_prep.ngrams import Form, NgramSet, ngram_hashes

DOCUMENTS = 400
"""Of the text that is searched; the evaluation set is as many others."""


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[str]]:
    """Text to search, and an evaluation set."""
    root = os.environ.get("WEBTEXT_DATA_ROOT")
    path = Path(root or "", "text_en", "text_en.jsonl.zst")
    if not root or not path.exists():
        pytest.skip("WEBTEXT_DATA_ROOT is not set")
    with DumpReader(str(path)) as dump:
        found = [orjson.loads(line)["text"] for line, _ in zip(dump, range(2 * DOCUMENTS), strict=False)]
    return found[::2], found[1::2]


def plain(searched: list[str], wanted: set[str], n: int) -> int:
    """How many n-grams are found, by Python's own strings."""
    count = 0
    for text in searched:
        words = re.findall(r"[^\W_]+", text.lower())
        count += sum(" ".join(words[i : i + n]) in wanted for i in range(len(words) - n + 1))
    return count


@pytest.mark.benchmark
def test_overlap(texts: tuple[list[str], list[str]], table: list[Row]) -> None:
    searched, evaluation = texts
    megabytes = sum(len(text.encode()) for text in searched) / 1e6
    forms: dict[int, Form] = {8: "alphanumeric", 13: "unpunctuated"}
    for n, form in forms.items():
        hashes = np.unique(np.concatenate([ngram_hashes(text, n, form) for text in evaluation]))
        ngrams = NgramSet(hashes, n, form)

        def ours(ngrams: NgramSet = ngrams) -> int:
            return sum(len(ngrams.find(text).index) for text in searched)

        peer, other = _peer(n, searched, evaluation)
        seconds, peer_seconds = alternate(ours, peer, repeats=3)
        table.append(
            Row(
                f"{n}-grams of an evaluation set in text",
                f"{megabytes / seconds:,.0f} MB/s",
                f"{other} {megabytes / peer_seconds:,.1f} MB/s",
                f"{peer_seconds / seconds:.0f}x as fast",
                f"one core, {megabytes:.1f} MB against {len(hashes):,} n-grams; found {ours():,}, peer {peer():,}",
            )
        )


def _peer(n: int, searched: list[str], evaluation: list[str]) -> tuple[Any, str]:
    if n == 13:
        try:
            janitor = import_module("lm_eval.decontamination.janitor")
        except ImportError:
            pass
        else:
            made = janitor.Janitor(n)
            for text in evaluation:
                made.register_contaminant_python(text)
            return lambda: sum(
                made.normalize_string(ngram) in made.dirt_ngrams
                for text in searched
                for ngram, _ in janitor.word_ngrams_indices(text, n)
            ), "janitor (Python)"
    wanted = set()
    for text in evaluation:
        words = re.findall(r"[^\W_]+", text.lower())
        wanted |= {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}
    return lambda: plain(searched, wanted, n), "plain Python"
