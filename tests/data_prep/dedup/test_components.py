from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.dedup.components import clusters


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 20)), max_size=40))
def test_the_clusters_are_those_of_a_union_find(pairs: list[tuple[int, int]]) -> None:
    parent: dict[int, int] = {}

    def root(x: int) -> int:
        parent.setdefault(x, x)
        while parent[x] != x:
            x = parent[x]
        return x

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    left, right = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    nodes, cluster = clusters(left, right)
    assert nodes.tolist() == sorted(parent)
    assert cluster.tolist() == [root(node) for node in sorted(parent)]
