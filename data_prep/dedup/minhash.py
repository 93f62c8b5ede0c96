"""MinHash signatures of word n-grams (Broder 1997), vectorised over the bytes, words and n-grams of a document.

Words are runs of Unicode letters, digits and underscores of the lower-cased text. Word hashes come from prefix sums of
a polynomial in a fixed odd base modulo 2^64, so that no Python loop touches a word.
"""

from __future__ import annotations

import functools
import re

import numpy as np
import numpy.typing as npt

from data_prep import keyed

Hashes = npt.NDArray[np.uint64]

_NOT_WORD_BEYOND_ASCII = re.compile(r"[^\w\x00-\x7f]")
_ASCII_TO_WORDS = bytes(b if b >= 0x80 or chr(b).isalnum() or b == ord("_") else ord(" ") for b in range(256))
_BASE = 0x9E3779B97F4A7C15
_BLOCK = 2048
"""n-grams permuted at a time: 112 x 2048 x 8 bytes stay in the second-level cache."""


def _mix(x: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele et al. 2014): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@functools.lru_cache(maxsize=64)
def _powers(base: int, bits: int) -> Hashes:
    """base^0 .. base^(2^bits - 1) modulo 2^64."""
    values = np.full(1 << bits, base, np.uint64)
    values[0] = 1
    return np.cumprod(values, dtype=np.uint64)


def word_hashes(text: str) -> Hashes:
    """[n_words] 64-bit hashes of the words of a text, in order."""
    lower = text.lower()
    if not lower.isascii():
        lower = _NOT_WORD_BEYOND_ASCII.sub(" ", lower)
    data = np.frombuffer(lower.encode().translate(_ASCII_TO_WORDS), np.uint8)
    spaces = np.flatnonzero(data == ord(" "))
    starts, ends = np.append(0, spaces + 1), np.append(spaces, len(data))
    some = starts < ends
    starts, ends = starts[some], ends[some]
    bits = max(12, len(data).bit_length())
    prefix = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(data.astype(np.uint64) * _powers(_BASE, bits)[: len(data)], out=prefix[1:])
    # Dividing by base^start makes the hash independent of where the word stands.
    shift = _powers(pow(_BASE, -1, 1 << 64), bits)[starts]
    return _mix((prefix[ends] - prefix[starts]) * shift)


def shingles(text: str, ngram: int) -> Hashes:
    """[n] hashes of the word n-grams of a text, repeats included.

    A text of fewer than `ngram` words gives one hash of all its words; one without words gives none.
    """
    words = word_hashes(text)
    if len(words) == 0:
        return words
    width = min(ngram, len(words))
    count = len(words) - width + 1
    total = np.zeros(count, np.uint64)
    for k in range(width):
        total += words[k : k + count] * _powers(_BASE, 12)[k + 1]
    return _mix(total)


class MinHash:
    """A family of hash functions h -> a h + b modulo 2^64 (multiply-shift, Dietzfelbinger et al. 1997).

    Args:
        permutations: number of functions.
        seed: chooses them.
    """

    def __init__(self, permutations: int, seed: int) -> None:
        names = [str(i) for i in range(permutations)]
        self._a = np.array([keyed.key(seed, "minhash a", name) | 1 for name in names], np.uint64)[:, None]
        self._b = np.array([keyed.key(seed, "minhash b", name) for name in names], np.uint64)[:, None]

    def signature(self, hashes: Hashes) -> Hashes:
        """[permutations] the smallest value of each function over the [n >= 1] hashes.

        Two sets of hashes agree in a given place with a probability equal to their Jaccard similarity.
        """
        lowest = np.full((len(self._a), 1), np.iinfo(np.uint64).max, np.uint64)
        for start in range(0, len(hashes), _BLOCK):
            values = self._a * hashes[None, start : start + _BLOCK]
            values += self._b
            np.minimum(lowest, values.min(axis=1, keepdims=True), out=lowest)
        return lowest[:, 0]


def jaccard(left: str, right: str, ngram: int) -> float:
    """Exact Jaccard similarity of the sets of word n-grams of two texts; 0 if neither has words."""
    a, b = np.unique(shingles(left, ngram)), np.unique(shingles(right, ngram))
    common = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - common
    return common / union if union else 0.0
