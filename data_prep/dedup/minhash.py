"""MinHash signatures (Broder 1997) of the word n-grams of texts, and keys of their bands.

Each of the functions h -> a h + b modulo 2^32 (multiply-shift, Dietzfelbinger et al. 1997) takes the upper half of an
n-gram's hash; a signature is the smallest value of each function over the n-grams of a text. Two signatures agree in a
given place with a probability equal to the Jaccard similarity of the two sets, but for chance: for sets of n n-grams
about n / 2^32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_prep import keyed
from data_prep.compiled import compiled, mix
from data_prep.dedup.shingles import (
    Bytes,
    Characters,
    Hashes,
    Numbers,
    Texts,
    characters,
    join_words,
    powers,
    read_words,
)

Values = npt.NDArray[np.uint32]
_BLOCK = 2048
"""n-grams at a time: with their words 24 KiB, which stay in the first-level cache."""
_VECTOR = 32
_HIGH_HALF = np.uint64(32)


class MinHash:
    """A family of hash functions and the bands of its signatures.

    Args:
        ngram: words in an n-gram.
        bands: bands of a signature.
        rows: functions in a band.
        seed: chooses the functions.
    """

    def __init__(self, ngram: int, bands: int, rows: int, seed: int) -> None:
        names = [str(i) for i in range(bands * rows)]
        self._a = np.array([keyed.key(seed, "minhash a", name) >> 32 | 1 for name in names], np.uint32)
        self._b = np.array([keyed.key(seed, "minhash b", name) >> 32 for name in names], np.uint32)
        self._ngram, self._bands = ngram, bands

    def signatures(self, texts: Texts) -> tuple[Values, Numbers]:
        """[n, bands * rows] signature and [n] number of n-grams, repeats included, of each text.

        Where the number is 0 the signature means nothing. Memory: besides the result some 30 KiB, however long a text.
        """
        values = np.empty((len(texts), len(self._a)), np.uint32)
        sizes = np.empty(len(texts), np.int64)
        _sign(texts.data, texts.bounds, characters(), self._ngram, powers(), self._a, self._b, values, sizes)
        return values, sizes

    def band_keys(self, texts: Texts) -> tuple[Hashes, Numbers]:
        """[n, bands] 64-bit key of each band, other for equal values of another band; and sizes as `signatures`."""
        values, sizes = self.signatures(texts)
        keys = np.empty((len(texts), self._bands), np.uint64)
        _join_rows(values, keys)
        return keys, sizes


@compiled
def _lower(lowest: Values, hashes: Values, count: int, a: Values, b: Values) -> None:
    """Lower each function's smallest value by the first `count` hashes.

    The inner loop is over hashes, so that its smallest value and the two factors stay in registers.
    """
    for p in range(len(a)):
        low, factor, term = lowest[p], a[p], b[p]
        for i in range(count):
            low = min(low, np.uint32(factor * hashes[i] + term))
        lowest[p] = low


@compiled
def _sign(
    data: Bytes,
    bounds: Numbers,
    lower: Characters,
    ngram: int,
    factors: Hashes,
    a: Values,
    b: Values,
    values: Values,
    sizes: Numbers,
) -> None:
    words = np.empty(_BLOCK + ngram - 1, np.uint64)
    wide = np.empty(_BLOCK, np.uint64)
    hashes = np.empty(_BLOCK, np.uint32)
    for text in range(len(bounds) - 1):
        values[text, :] = np.uint32(0xFFFFFFFF)
        at, end = bounds[text], bounds[text + 1]
        filled = size = 0
        while True:
            at, filled = read_words(data, at, end, lower, words, filled)
            if filled >= ngram or size == 0:  # of a short text all words together count as one
                count = join_words(words, filled, ngram, factors, wide)
                for i in range(count):
                    hashes[i] = np.uint32(wide[i] >> _HIGH_HALF)
                # Repeats change no minimum, and vector instructions leave no rest to be done one by one.
                padded = -(-count // _VECTOR) * _VECTOR
                hashes[count:padded] = hashes[0]
                _lower(values[text], hashes, padded, a, b)
                size += count
            if at >= end:
                break
            for k in range(ngram - 1):
                words[k] = words[filled - ngram + 1 + k]
            filled = ngram - 1
        sizes[text] = size


@compiled
def _join_rows(values: Values, keys: Hashes) -> None:
    bands = keys.shape[1]
    rows = values.shape[1] // bands
    for text in range(len(keys)):
        for band in range(bands):
            key = mix(np.uint64(band + 1))
            for row in range(rows):
                key = mix(key ^ np.uint64(values[text, band * rows + row]))
            keys[text, band] = key
