from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from overlap_corpus import overlap, write_set
from small_corpus import document, words, write_documents

from data_prep.overlap import bloom, table


def rows(folder: Path) -> dict[str, Any]:
    return {row["set"]: row for row in json.loads((folder / "overlap" / "overlap.json").read_text())}


def plain_percent(corpus: list[str], texts: list[str], n: int) -> float:
    """The plain way, of texts whose words are already in normal form."""

    def ngrams(text: str) -> list[tuple[str, ...]]:
        parts = text.split()
        return [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]

    known = {ngram for text in corpus for ngram in ngrams(text)}
    every = [ngram for text in texts for ngram in ngrams(text)]
    return 100 * sum(ngram in known for ngram in every) / len(every)


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], dict[str, list[str]]]:
    rng = random.Random(1)
    corpus = [words(rng, 60) for _ in range(30)]
    mixed = [f"{words(rng, 20)} {corpus[i][:100]} {words(rng, 5)}" for i in range(10)]
    return corpus, {"ptb": [*mixed, mixed[0]], "own": [words(rng, 40) for _ in range(5)], "all": corpus[:3]}


@pytest.mark.parametrize("method", ["exact", "bloom"])
def test_the_shares_are_those_of_the_plain_way(
    tmp_path: Path, texts: tuple[list[str], dict[str, list[str]]], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bloom, "RANDOM_STRINGS", 3000)
    monkeypatch.setattr(table, "RANDOM_STRINGS", 3000)
    corpus, sets = texts
    refs = write_documents(tmp_path / "in", *([document(i, corpus[i]) for i in range(k, 30, 3)] for k in range(3)))
    paths = {name: write_set(tmp_path / f"{name}.jsonl", part) for name, part in sets.items()}
    folder, manifests = overlap(tmp_path, refs, paths, method=method, ngram=4)
    found = rows(folder)
    assert list(found) == sorted(sets)
    for name, part in sets.items():
        assert found[name]["percent"] == pytest.approx(plain_percent(corpus, part, 4))
    assert found["all"]["percent"] == 100
    assert found["own"]["percent"] < 1
    assert found["ptb"]["percent"] != found["ptb"]["distinct_percent"]
    assert (found["ptb"]["webtext_percent"], found["own"]["webtext_percent"]) == (0.88, None)
    assert manifests["overlap"].summary["ptb"].endswith("WebText (GPT-2): 0.88 %")
    if method == "bloom":
        assert manifests["overlap-hits"].summary == {"false positives": "0 of 3,000 random strings"}


@pytest.mark.parametrize("method", ["exact", "bloom"])
def test_the_bytes_depend_neither_on_task_order_nor_on_the_cut_of_the_corpus(
    tmp_path: Path,
    texts: tuple[list[str], dict[str, list[str]]],
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bloom, "RANDOM_STRINGS", 100)
    monkeypatch.setattr(table, "RANDOM_STRINGS", 100)
    corpus, sets = texts
    paths = {name: write_set(tmp_path / f"{name}.jsonl", part) for name, part in sets.items()}
    made = []
    for number, cuts in enumerate((1, 4)):
        parts = ([document(i, corpus[i]) for i in range(k, 30, cuts)] for k in range(cuts))
        refs = write_documents(tmp_path / f"in{number}", *parts)
        folder, _ = overlap(tmp_path / str(number), refs, paths, reverse=bool(number), method=method, ngram=4)
        made.append((folder / "overlap" / "overlap.json").read_bytes())
    assert made[0] == made[1]


def test_nothing_in_the_corpus_is_no_overlap(tmp_path: Path) -> None:
    path = write_set(tmp_path / "a.jsonl", ["a b c"])
    folder, _ = overlap(tmp_path, write_documents(tmp_path / "in", []), {"a": path}, ngram=2)
    assert rows(folder)["a"]["percent"] == 0.0


def test_a_filter_keeps_its_bound_of_false_positives() -> None:
    rng = np.random.default_rng(0)
    members = rng.integers(0, 2**63, 20_000, dtype=np.uint64)
    found = bloom.NgramBloom(len(members), 0.01)
    found.add(members)
    assert found.holds(members).all()
    strangers = rng.integers(2**63, 2**64 - 1, 20_000, dtype=np.uint64)
    assert 0 < found.holds(strangers).mean() < 0.015


def test_the_filter_and_the_random_strings_are_the_same_in_every_process() -> None:
    program = (
        "from data_prep.overlap import bloom; bloom.RANDOM_STRINGS = 50; s = bloom.random_strings(8, 'alphanumeric');"
        "f = bloom.NgramBloom(50, 0.2); f.add(s[:25]); print(s.tolist(), f.holds(s).tolist())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert b"True" in runs[0]


def test_random_strings_are_different_ones() -> None:
    strings = bloom.random_strings(8, "alphanumeric")
    assert len(np.unique(strings)) == bloom.RANDOM_STRINGS == 10**6
