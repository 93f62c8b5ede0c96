"""Randomness that depends on nothing but a seed, a purpose and an id.

A draw is a hash, so it does not matter which worker makes it, in which order, or after how many restarts; a document
keeps its draw when other documents come or go.
"""

from __future__ import annotations

import xxhash


def key(seed: int, purpose: str, id: str) -> int:
    """A uniform 64-bit integer (xxh3-64): for shuffling, sort by it.

    Args:
        seed: the corpus builder's seed.
        purpose: what the draw decides ("split", "shuffle"); other purposes give independent draws.
        id: whose draw it is.
    """
    # NUL occurs in neither number nor purpose, so that no two (seed, purpose, id) make the same bytes.
    return xxhash.xxh3_64_intdigest(f"{seed}\0{purpose}\0{id}".encode())


def draw(seed: int, purpose: str, id: str) -> float:
    """A uniform number in [0, 1) with the 53 bits that a double holds; arguments as for `key`."""
    return (key(seed, purpose, id) >> 11) * 2.0**-53
