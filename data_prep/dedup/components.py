"""Connected components of the graph of near-duplicates."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_prep.dedup.shingles import Numbers


def clusters(left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """Connected components of an undirected graph given by its edges.

    Args:
        left, right: [n_edges] the two ends of each edge.

    Returns:
        nodes: [n_nodes] sorted numbers of all nodes that have an edge.
        cluster: [n_nodes] smallest node of the component that each belongs to.

    Memory: some 60 bytes an edge, whatever the number of documents without an edge.
    """
    nodes, compact = np.unique(np.concatenate([left, right]), return_inverse=True)
    n = len(left)
    graph = coo_array((np.ones(n, bool), (compact[:n], compact[n:])), shape=(len(nodes), len(nodes)))
    count, label = connected_components(graph, directed=False)
    smallest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(smallest, label, nodes)
    return nodes, smallest[label]
