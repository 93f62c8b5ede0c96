"""Locality-sensitive hashing of MinHash signatures by bands (Leskovec, Rajaraman & Ullman, chapter 3.4)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xxhash

from data_prep.dedup.minhash import Hashes

Numbers = npt.NDArray[np.int64]


def candidate_probability(jaccard: float, bands: int, rows: int) -> float:
    """Probability that two documents of this similarity share a band: 1 - (1 - s^rows)^bands."""
    return 1.0 - (1.0 - jaccard**rows) ** bands


def band_keys(signature: Hashes, bands: int) -> list[int]:
    """[bands] 64-bit key of each band of a signature whose length is a multiple of `bands`."""
    # The seed keeps equal values in different bands apart.
    return [
        xxhash.xxh3_64_intdigest(part.tobytes(), seed=band) for band, part in enumerate(signature.reshape(bands, -1))
    ]


def edges(keys: Hashes, documents: Numbers) -> tuple[Numbers, Numbers]:
    """Edges that join all documents of a bucket, as a star around its smallest document.

    A star has n - 1 edges where all pairs would be n (n - 1) / 2, and the same connected components.

    Args:
        keys: [n] bucket of each entry.
        documents: [n] document number of each entry.

    Returns:
        Smaller and larger document of each edge, distinct and sorted.
    """
    order = np.lexsort((documents, keys))
    keys, documents = keys[order], documents[order]
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    if len(keys) == 0:
        return documents, documents
    smallest = documents[np.flatnonzero(first)[np.cumsum(first) - 1]]
    joined = smallest != documents
    pairs = np.unique(np.stack([smallest[joined], documents[joined]], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]
