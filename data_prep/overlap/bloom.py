"""A Bloom filter of n-grams, as in GPT-2's overlap analysis (section 4), and strings that measure its error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xxhash
from rbloom import Bloom

from data_prep.ngrams import Form, Hashes, ngram_hashes

RANDOM_STRINGS = 10**6
"""As many as in the paper, which had no false positive among them."""
_SEED = 2019


def _hash(ngram: int) -> int:
    """128 bits, signed. Python's own `hash` would be another one in each process."""
    return int.from_bytes(xxhash.xxh3_128_digest(ngram.to_bytes(8, "little")), "little", signed=True)


class NgramBloom:
    """N-grams by their hashes.

    Args:
        most: n-grams that will be added at most.
        false_positives: rate of false positives with so many.
    """

    def __init__(self, most: int, false_positives: float) -> None:
        self._bloom = Bloom(max(most, 1), false_positives, _hash)

    def add(self, hashes: Hashes) -> None:
        """Add n-grams."""
        self._bloom.update(hashes.tolist())

    def holds(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of some n-grams were added, or are false positives."""
        return np.fromiter((ngram in self._bloom for ngram in hashes.tolist()), bool, len(hashes))


def random_strings(n: int, form: Form) -> Hashes:
    """Hashes of `RANDOM_STRINGS` strings of n random words, always the same ones."""
    words = np.random.Philox(_SEED).random_raw(RANDOM_STRINGS + n - 1)
    # The strings overlap, but none of them stands in any corpus: a word has 16 random digits.
    return ngram_hashes(" ".join(f"{word:016x}" for word in words.tolist()), n, form)
