"""Locality-sensitive hashing of MinHash signatures by bands (Leskovec, Rajaraman & Ullman, chapter 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.dedup.shingles import Hashes, Numbers

CURVE = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Similarities at which the curve is shown."""


def candidate_probability(jaccard: float, bands: int, rows: int) -> float:
    """Probability that two documents of this similarity share a band: 1 - (1 - s^rows)^bands."""
    return 1.0 - (1.0 - jaccard**rows) ** bands


def half_point(bands: int, rows: int) -> float:
    """The similarity at which half of the pairs share a band."""
    return float((1.0 - 0.5 ** (1.0 / bands)) ** (1.0 / rows))


def curve(bands: int, rows: int) -> str:
    """The chance to become candidates at some similarities, in one line."""
    points = "  ".join(f"{s:g}: {100 * candidate_probability(s, bands, rows):.3g} %" for s in CURVE)
    return f"{bands} bands of {rows}, pairs at Jaccard {points}; half at {half_point(bands, rows):.2f}"


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
    smallest = documents[_first_of_bucket(keys)]
    joined = smallest != documents
    return distinct(smallest[joined], documents[joined])


@dataclass(frozen=True)
class Candidates:
    """Pairs of documents that share a bucket, not yet spelt out.

    Attributes:
        documents: [n] document of each entry, by bucket and then size.
        partners: [n] with how many entries after it each is paired.
        left_out: pairs within buckets that are not among them, repeats included.
    """

    documents: Numbers
    partners: Numbers
    left_out: int

    def chunks(self, most: int) -> Iterator[tuple[Numbers, Numbers]]:
        """Smaller and larger document of each pair, about `most` pairs at a time, each chunk distinct and sorted."""
        total = np.cumsum(self.partners)
        start = 0
        while start < len(total):
            before = int(total[start] - self.partners[start])
            end = max(start + 1, int(np.searchsorted(total, before + most, side="right")))
            taken = self.partners[start:end]
            left = np.repeat(np.arange(start, end), taken)
            step = np.arange(len(left)) - np.repeat(np.cumsum(taken) - taken, taken) + 1
            one, other = self.documents[left], self.documents[left + step]
            different = one != other
            one, other = one[different], other[different]
            yield distinct(np.minimum(one, other), np.maximum(one, other))
            start = end


def candidates(keys: Hashes, documents: Numbers, sizes: Numbers, most: int) -> Candidates:
    """Pairs of documents that share a bucket; of a bucket of n at most `most` * n.

    In a bucket the documents stand in the order of their sizes and each is paired with the `most` next ones. Documents
    that are nearly equal have nearly equal sizes, so that what a large bucket leaves out are mostly pairs unlike.

    Args:
        keys: [n] bucket of each entry.
        documents: [n] document number of each entry.
        sizes: [n] size of each document.
        most: partners of a document after it.
    """
    order = np.lexsort((documents, sizes, keys))
    starts, counts = np.unique(_first_of_bucket(keys[order]), return_counts=True)
    after = np.repeat(starts + counts, counts) - np.arange(len(keys)) - 1
    return Candidates(documents[order], np.minimum(after, most), int(np.maximum(after - most, 0).sum()))


def distinct(left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """Pairs sorted and each once."""
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    new = np.ones(len(left), bool)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[new], right[new]


def _first_of_bucket(keys: Hashes) -> Numbers:
    """[n] position of the first entry of the bucket of each of the sorted entries."""
    if len(keys) == 0:
        return np.empty(0, np.int64)
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    found: Numbers = np.flatnonzero(first)[np.cumsum(first) - 1]
    return found
