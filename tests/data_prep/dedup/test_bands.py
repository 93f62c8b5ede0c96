from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpus import words as random_words

from data_prep.dedup.bands import band_keys, candidate_probability, edges
from data_prep.dedup.minhash import MinHash, jaccard, shingles


def test_the_curve_has_its_published_values() -> None:
    """14 x 8 of FineWeb: half of the pairs at 0.68, 92 % at 0.8."""
    values = [round(candidate_probability(s, 14, 8), 3) for s in (0.5, 0.7, 0.8, 0.9)]
    assert values == [0.053, 0.565, 0.924, 1.0]
    assert abs(candidate_probability(0.68, 14, 8) - 0.5) < 0.02


def test_pairs_become_candidates_as_often_as_the_curve_says() -> None:
    """150 pairs at each of three similarities, within four standard deviations of a binomial."""
    rng = random.Random(5)
    minhash = MinHash(112, seed=0)
    for share in (0.1, 0.19, 0.4):
        found, expected = 0, 0.0
        for _ in range(150):
            words = random_words(rng, 200).split()
            cut = int(len(words) * share)
            left, right = " ".join(words), " ".join(words[: len(words) - cut] + random_words(rng, cut).split())
            keys = [band_keys(minhash.signature(shingles(text, 5)), 14) for text in (left, right)]
            found += any(a == b for a, b in zip(*keys, strict=True))
            expected += candidate_probability(jaccard(left, right, 5), 14, 8)
        deviation = (150 * max(0.01, expected / 150 * (1 - expected / 150))) ** 0.5
        assert abs(found - expected) < 4 * deviation


def test_equal_rows_in_different_bands_have_different_keys() -> None:
    assert len(set(band_keys(np.full(12, 7, np.uint64), 3))) == 3


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40), st.integers(0, 2**32))
def test_edges_are_stars_around_the_smallest_of_each_bucket(entries: list[tuple[int, int]], seed: int) -> None:
    buckets: dict[int, set[int]] = {}
    for key, document in entries:
        buckets.setdefault(key, set()).add(document)
    expected = sorted({(min(b), d) for b in buckets.values() for d in b if d != min(b)})
    random.Random(seed).shuffle(entries)
    left, right = edges(np.array([k for k, _ in entries], np.uint64), np.array([d for _, d in entries], np.int64))
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == expected
