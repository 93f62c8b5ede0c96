from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.evaluate.memorization import token_search
from pipeline.evaluate.memorization.token_search import longest_common, passages_by_count, window_hashes


@pytest.fixture
def train(small_dataset: Path) -> TokenSplit:
    return TokenSplit(str(small_dataset), DatasetManifest.load(str(small_dataset)), "train")


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 6))
def test_equal_windows_have_equal_hashes_and_others_have_others(tokens: list[int], length: int) -> None:
    hashes = window_hashes(np.array(tokens, np.int64), length).tolist()
    windows = [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]
    assert len(hashes) == len(windows)
    assert len(set(hashes)) == len(set(windows)) == len(set(zip(hashes, windows, strict=True)))


@pytest.mark.parametrize("chunk", [1 << 20, 37])
def test_passages_are_counted_exactly(train: TokenSplit, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_search, "_CHUNK", chunk)
    tokens = train.read(0, train.tokens).tolist()
    eot = tokens[-1]
    windows = [tuple(tokens[i : i + 8]) for i in range(len(tokens) - 7)]
    counts = Counter(window for window in windows if eot not in window)
    assert len(counts) < len(set(windows))
    buckets = [(1, 1), (2, 3), (4, 10**9)]
    found = passages_by_count(train, 8, buckets, 20, seed=1, eot_id=eot)
    for (low, high), passages in found.items():
        available = sum(low <= count <= high for count in counts.values())
        assert len(passages) == min(20, available) > 0
        for one in passages:
            assert low <= one.count <= high
            assert counts[tuple(one.ids)] == one.count
    other = passages_by_count(train, 8, buckets, 20, seed=2, eot_id=eot)
    assert other != found == passages_by_count(train, 8, buckets, 20, seed=1, eot_id=eot)
    assert passages_by_count(train, 10**6, buckets, 20, seed=1, eot_id=eot) == {bucket: [] for bucket in buckets}


def test_of_a_large_text_all_copies_of_a_window_are_counted_or_none(
    train: TokenSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_search, "_KEPT", train.tokens // 3)
    tokens = train.read(0, train.tokens).tolist()
    counts = Counter(tuple(tokens[i : i + 8]) for i in range(len(tokens) - 7))
    found = passages_by_count(train, 8, [(1, 10**9)], 10**6, seed=1, eot_id=tokens[-1])[1, 10**9]
    assert 0 < len(found) < len(counts) / 2
    assert all(counts[tuple(one.ids)] == one.count for one in found)


def test_the_longest_part_equals_that_of_a_plain_search(train: TokenSplit) -> None:
    draw = random.Random(0)
    tokens = train.read(0, train.tokens).tolist()
    texts = [[draw.randrange(256) for _ in range(12)] for _ in range(3)]
    texts.append([255, *tokens[50:70], 254])
    texts.append(tokens[5:30])
    texts.append([])

    there = {tuple(tokens[i : i + n]) for n in range(1, 26) for i in range(len(tokens) - n + 1)}

    def plain(text: list[int]) -> int:
        parts = [tuple(text[i:j]) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
        return max((len(part) for part in parts if part in there), default=0)

    found = longest_common(train, texts)
    assert [length for _, length in found] == [plain(text) for text in texts]
    assert found[3][1] >= 20
    assert found[4] == (0, 25)
    assert found[5] == (0, 0)
