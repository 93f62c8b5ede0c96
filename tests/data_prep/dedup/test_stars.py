from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.dedup.components import clusters
from data_prep.dedup.stars import large_star, small_star, stars

Pairs = list[tuple[int, int]]


def edges(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    ordered = np.array(sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]}), np.int64).reshape(-1, 2)
    return ordered[:, 0], ordered[:, 1]


def around(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([left, right]), np.concatenate([right, left])


def rounds(left: np.ndarray, right: np.ndarray, most: int) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    for count in range(most):
        found = stars(*around(left, right))
        if found is not None:
            return found, count
        left, right = large_star(*around(left, right))
        left, right = small_star(right, left)
    raise AssertionError(f"no stars after {most} rounds")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_the_clusters_are_those_of_one_task(pairs: Pairs) -> None:
    left, right = edges(pairs)
    (nodes, cluster), _ = rounds(left, right, 8)
    expected = clusters(left, right)
    assert nodes.tolist() == expected[0].tolist()
    assert cluster.tolist() == expected[1].tolist()


def test_a_long_path_takes_few_rounds() -> None:
    """The worst case for passing labels from neighbour to neighbour."""
    path = np.random.default_rng(0).permutation(4096)
    left, right = edges(list(zip(path[:-1].tolist(), path[1:].tolist(), strict=True)))
    (nodes, cluster), count = rounds(left, right, 16)
    assert len(nodes) == 4096
    assert not cluster.any()
    assert count <= 12  # log2 of the length


def test_what_is_not_yet_a_star_is_told() -> None:
    chain = edges([(1, 2), (2, 3)])
    assert stars(*around(*chain)) is None
    assert stars(*around(*edges([(2, 3), (1, 4), (2, 5)]))) is not None
