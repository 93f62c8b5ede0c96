"""Connected components by large-star and small-star (Kiveris et al. 2014, Connected Components in MapReduce).

Each operation looks at one node and its neighbours at a time, so that edges may be spread over any number of partitions
by their nodes. Repeated in turn they make of every component a star around its smallest node.
"""

from __future__ import annotations

import numpy as np

from data_prep.dedup.bands import distinct
from data_prep.dedup.shingles import Numbers


def large_star(node: Numbers, neighbour: Numbers) -> tuple[Numbers, Numbers]:
    """Join the larger neighbours of each node to the smallest of the node and all its neighbours.

    Args:
        node, neighbour: [n] edges seen from their nodes; all edges of a node must be there.

    Returns:
        Smaller and larger end of the new edges, distinct and sorted.
    """
    if len(node) == 0:
        return node, neighbour
    node, neighbour, smallest = _with_smallest(node, neighbour)
    larger = neighbour > node
    return distinct(np.minimum(smallest, node)[larger], neighbour[larger])


def small_star(node: Numbers, neighbour: Numbers) -> tuple[Numbers, Numbers]:
    """Join each node and its smaller neighbours to the smallest of these.

    Args:
        node, neighbour: [n] edges seen from their larger ends; all of these edges of a node must be there.

    Returns:
        Smaller and larger end of the new edges, distinct and sorted.
    """
    if len(node) == 0:
        return node, neighbour
    node, neighbour, smallest = _with_smallest(node, neighbour)
    end = np.concatenate([neighbour, node])
    centre = np.concatenate([smallest, smallest])
    real = centre != end
    return distinct(centre[real], end[real])


def stars(node: Numbers, neighbour: Numbers) -> tuple[Numbers, Numbers] | None:
    """The component of each node, if what is around each of them is a star; else None.

    Args:
        node, neighbour: [n] edges seen from their nodes; all edges of a node must be there.

    Returns:
        nodes: [m] sorted.
        component: [m] smallest node of the component that each belongs to.
    """
    if len(node) == 0:
        return node, neighbour
    node, neighbour, smallest = _with_smallest(node, neighbour)
    nodes, count = np.unique(node, return_counts=True)
    centre = smallest[np.cumsum(count) - 1]
    # A node is the centre, smaller than its neighbours, or has the centre for its only neighbour.
    return None if ((centre < nodes) & (count > 1)).any() else (nodes, np.minimum(centre, nodes))


def _with_smallest(node: Numbers, neighbour: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The edges, distinct, by node, and the smallest neighbour of each edge's node."""
    node, neighbour = distinct(node, neighbour)
    first = np.ones(len(node), bool)
    first[1:] = node[1:] != node[:-1]
    return node, neighbour, neighbour[np.flatnonzero(first)[np.cumsum(first) - 1]]
