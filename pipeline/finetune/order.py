"""Which example is trained on at sample i: shuffled epochs, with examples of like length in the same batch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.data.order import Int, SampleOrder, key, permute


class LengthGroups:
    """A keyed order in which each epoch has every example once and a batch's examples are about equally long.

    The shuffled order is cut into windows of `batches` global batches. Within a window, the examples of an epoch are
    sorted by length, cut where batches begin, and the pieces are put into a keyed random order. So sample i depends on
    the seed, the lengths, the global batch and i alone, not on ranks, micro-batches or the length of the run.

    Args:
        lengths: [examples] tokens of each example.
        seed: another seed is another order.
        global_batch: samples of an optimizer step.
        batches: global batches that are sorted together; 0 leaves the shuffled order as it is.
    """

    def __init__(self, lengths: Int, seed: int, global_batch: int, batches: int) -> None:
        self._lengths, self._seed, self._batch, self._size = lengths, seed, global_batch, global_batch * batches
        self._order = SampleOrder([len(lengths)], [1.0], seed)
        self._window = lru_cache(maxsize=2)(self._sorted_window)  # a step's micro-batches lie in one

    def locate(self, samples: Int) -> Int:
        """[n] sample numbers -> [n] example numbers."""
        if self._size == 0:
            return self._order.locate(samples).window
        windows, places = np.divmod(samples, self._size)
        found = np.empty(len(samples), np.int64)
        for window in np.unique(windows).tolist():
            mine = windows == window
            found[mine] = self._window(window)[places[mine]]
        return found

    def _sorted_window(self, window: int) -> Int:
        first = window * self._size
        located = self._order.locate(np.arange(first, first + self._size, dtype=np.int64))
        found = np.empty(self._size, np.int64)
        for epoch in np.unique(located.epoch).tolist():
            (own,) = np.nonzero(located.epoch == epoch)
            examples = located.window[own]
            examples = examples[np.argsort(self._lengths[examples], kind="stable")]
            begin, end = int(own[0]), int(own[-1]) + 1
            # Where an epoch begins within a batch, its first piece is short.
            bounds = [begin, *range((begin // self._batch + 1) * self._batch, end, self._batch), end]
            pieces = len(bounds) - 1
            keys = np.array([key(self._seed, "batches", window, epoch)], np.uint64)
            done = 0
            for piece in permute(np.arange(pieces, dtype=np.int64), pieces, keys).tolist():
                size = bounds[piece + 1] - bounds[piece]
                found[bounds[piece] : bounds[piece + 1]] = examples[done : done + size]
                done += size
        return found
