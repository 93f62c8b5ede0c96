from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_minhash import TEXT, slow_shingles

from data_prep.dedup.jaccard import ShingleSets, jaccard, similarities
from data_prep.dedup.shingles import Texts

FEW_WORDS = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


def sets(values: list[str], ngram: int) -> ShingleSets:
    return ShingleSets.of(Texts.of(pa.array(values, pa.large_string())), ngram)


def slow_jaccard(left: str, right: str, ngram: int) -> float:
    a, b = set(slow_shingles(left, ngram)), set(slow_shingles(right, ngram))
    return len(a & b) / len(a | b) if a | b else 0.0


@settings(deadline=None)
@given(st.lists(TEXT | FEW_WORDS, min_size=1, max_size=5), st.integers(1, 3))
def test_sets_are_sorted_and_without_repeats(values: list[str], ngram: int) -> None:
    made = sets(values, ngram)
    assert len(made) == len(values)
    for i, text in enumerate(values):
        mine = made.hashes[made.bounds[i] : made.bounds[i + 1]].tolist()
        assert mine == sorted(set(slow_shingles(text, ngram)))
    parts = ShingleSets.together([sets(values, ngram), sets(values[:1], ngram)])
    assert parts.hashes.tolist() == made.hashes.tolist() + made.hashes[: made.bounds[1]].tolist()
    assert parts.bounds.tolist() == [*made.bounds.tolist(), int(made.bounds[-1] + made.bounds[1])]


@settings(deadline=None)
@given(st.lists(FEW_WORDS, min_size=2, max_size=5), st.integers(1, 3))
def test_similarities_are_exact(values: list[str], ngram: int) -> None:
    made = sets(values, ngram)
    at = np.array([(i, j) for i in range(len(values)) for j in range(len(values))])
    found = similarities(made, made, at[:, 0], at[:, 1])
    expected = [slow_jaccard(values[i], values[j], ngram) for i, j in at]
    assert found.tolist() == expected
    assert [jaccard(values[i], values[j], ngram) for i, j in at] == expected
