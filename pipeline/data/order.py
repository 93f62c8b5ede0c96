"""Which window is read at sample i, in closed form.

Sample i -> (source, epoch, window): sources are mixed exactly within every block of samples, and the windows of a
source are visited in a keyed permutation per epoch, so that each window is read once an epoch. Nothing is stored or
built: the order depends on the seed, the sources and i alone, not on ranks, micro-batches or the length of the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.mixture import BLOCK, quotas

Int = npt.NDArray[np.int64]
_Word = npt.NDArray[np.uint64]

_ROUNDS = 6
_SALTS: _Word = np.arange(1, _ROUNDS + 1, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
"""[rounds, 1] multiples of the golden ratio (Weyl sequence), modulo 2^64."""


def key(seed: int, *parts: object) -> int:
    """A 64-bit key from a seed and a purpose."""
    text = ":".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _mix(x: _Word) -> _Word:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014), a bijection on 64-bit words."""
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def permute(index: Int, size: int, keys: _Word) -> Int:
    """A keyed pseudo-random permutation of 0 .. size-1, evaluated at `index`.

    A Feistel network over the next even number of bits, walked until the value falls below `size`
    (Black and Rogaway 2002).

    Args:
        index: [n] values in 0 .. size-1.
        size: number of elements.
        keys: [n] or [1] 64-bit keys; each key is a permutation of its own.

    Returns:
        [n] int64 images.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    x, round_keys = index.astype(np.uint64), _mix(_SALTS ^ keys)
    image = np.empty(len(index), np.int64)
    todo: Int | None = None  # positions of those that still walk; None for all
    while len(x):
        left, right = x >> shift, x & mask
        for round_key in round_keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        x = (left << shift) | right
        outside = x >= np.uint64(size)
        if todo is None:
            image[:] = x
            todo = np.flatnonzero(outside)
        else:
            image[todo] = x
            todo = todo[outside]
        x = x[outside]
        if round_keys.shape[1] > 1:
            round_keys = round_keys[:, outside]
    return image


@dataclass(frozen=True)
class Located:
    """Where samples lie: [n] source number, [n] epoch, [n] window within the source."""

    source: Int
    epoch: Int
    window: Int


class SampleOrder:
    """The closed-form order over one or more sources; their mixture is exact in every `BLOCK` of samples.

    Args:
        windows: number of windows of each source.
        weights: share of each source in the mixture; any positive scale.
        seed: another seed is another order.
    """

    def __init__(self, windows: Sequence[int], weights: Sequence[float], seed: int) -> None:
        if len(windows) != len(weights) or min(windows) < 1:
            raise ValueError("every source needs a weight and at least one window")
        self._windows = list(windows)
        self._quota = np.array(quotas(weights), np.int64)
        self._first_slot = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._quota)])
        self._seed = seed

    def locate(self, samples: Int) -> Located:
        """[n] sample numbers -> where they lie."""
        if len(self._windows) == 1:
            epoch, window = self._within(0, samples)
            return Located(np.zeros_like(samples), epoch, window)
        block, slot = samples // BLOCK, samples % BLOCK
        slot = permute(slot, BLOCK, self._keys(block, "block"))
        source = np.searchsorted(self._first_slot, slot, side="right") - 1
        # Position among the samples that this source has had since sample 0.
        position = block * self._quota[source] + slot - self._first_slot[source]
        epoch, window = np.zeros_like(samples), np.zeros_like(samples)
        for s in np.unique(source).tolist():
            mine = source == s
            epoch[mine], window[mine] = self._within(s, position[mine])
        return Located(source.astype(np.int64), epoch, window)

    def _within(self, source: int, position: Int) -> tuple[Int, Int]:
        """[n] positions among the samples of a source -> [n] epoch, [n] window."""
        epoch, index = np.divmod(position, self._windows[source])
        return epoch, permute(index, self._windows[source], self._keys(epoch, "source", source, "epoch"))

    def _keys(self, numbers: Int, *purpose: object) -> _Word:
        """[n] keys for [n] numbers and a purpose; [1] if the numbers are all the same."""
        found, inverse = np.unique(numbers, return_inverse=True)
        keys = np.array([key(self._seed, *purpose, number) for number in found.tolist()], np.uint64)
        return keys if len(keys) == 1 else keys[inverse]
