from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.dedup.bands import Candidates, candidate_probability, candidates, curve, edges, half_point


@pytest.mark.parametrize(
    ("bands", "rows", "expected", "half"),
    [
        (14, 8, (0.001, 0.053, 0.565, 0.924, 1.0), 0.68),
        (20, 5, (0.047, 0.470, 0.975, 1.0, 1.0), 0.51),
        (10, 1, (0.972, 0.999, 1.0, 1.0, 1.0), 0.07),
        (3, 3, (0.079, 0.330, 0.716, 0.884, 0.980), 0.59),
    ],
)
def test_the_curve_has_its_published_values(bands: int, rows: int, expected: tuple[float, ...], half: float) -> None:
    values = [candidate_probability(s, bands, rows) for s in (0.3, 0.5, 0.7, 0.8, 0.9)]
    assert values == pytest.approx(expected, abs=0.0006)
    assert half_point(bands, rows) == pytest.approx(half, abs=0.006)
    assert candidate_probability(half_point(bands, rows), bands, rows) == pytest.approx(0.5)


def test_the_curve_is_one_line() -> None:
    line = curve(14, 8)
    assert line.startswith("14 bands of 8, pairs at Jaccard 0.3: 0.0918 %  0.5: 5.33 %  0.6: 21.1 %  0.7: 56.5 %")
    assert line.endswith("  0.8: 92.4 %  0.9: 100 %; half at 0.68")


ENTRIES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=60, unique=True)


@settings(deadline=None)
@given(ENTRIES, st.integers(0, 2**32))
def test_edges_are_stars_around_the_smallest_of_each_bucket(entries: list[tuple[int, int]], seed: int) -> None:
    buckets: dict[int, set[int]] = {}
    for key, document in entries:
        buckets.setdefault(key, set()).add(document)
    expected = sorted({(min(b), d) for b in buckets.values() for d in b if d != min(b)})
    random.Random(seed).shuffle(entries)
    left, right = edges(np.array([k for k, _ in entries], np.uint64), np.array([d for _, d in entries], np.int64))
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == expected


def of(entries: list[tuple[int, int]], sizes: dict[int, int], most: int) -> Candidates:
    keys, documents = (np.array([e[i] for e in entries], kind) for i, kind in ((0, np.uint64), (1, np.int64)))
    return candidates(keys, documents, np.array([sizes[d] for _, d in entries], np.int64), most)


@settings(deadline=None)
@given(ENTRIES, st.integers(1, 40), st.integers(1, 100), st.randoms())
def test_candidates_are_the_next_in_size_of_each_bucket(
    entries: list[tuple[int, int]], most: int, chunk: int, rng: random.Random
) -> None:
    sizes = {d: rng.randrange(5) for _, d in entries}
    expected, left_out = set(), 0
    for key in {k for k, _ in entries}:
        bucket = sorted((d for k, d in entries if k == key), key=lambda d: (sizes[d], d))
        for i, j in itertools.combinations(range(len(bucket)), 2):
            if j - i <= most:
                expected.add((min(bucket[i], bucket[j]), max(bucket[i], bucket[j])))
            else:
                left_out += 1
    found = of(entries, sizes, most)
    chunks = [list(zip(a.tolist(), b.tolist(), strict=True)) for a, b in found.chunks(chunk)]
    assert set(itertools.chain(*chunks)) == expected
    assert found.left_out == left_out
    for part in chunks:
        assert part == sorted(set(part))
        assert len(part) <= max(chunk, most)


def test_a_huge_bucket_gives_pairs_in_proportion_to_its_documents() -> None:
    found = of([(1, d) for d in range(100_000)], dict.fromkeys(range(100_000), 1), 4)
    assert int(found.partners.sum()) == 4 * 100_000 - 10
    assert max(len(left) for left, _ in found.chunks(1000)) <= 1000
