"""Windows of token streams, many in one gather, whatever number of shards and datasets they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from data_prep.shards import Tokens, TokenSplit
from pipeline.data.order import Int


@dataclass(frozen=True)
class Places:
    """Where windows lie.

    Attributes:
        source: [n] source numbers.
        window: [n] window numbers.
        address: [n] addresses; -1 for a window that several shards share.
        whole: whether all have an address, as far as is known.
    """

    source: Int
    window: Int
    address: Int
    whole: bool

    def __len__(self) -> int:
        return len(self.address)


class WindowReader:
    """Reads windows of `length` inputs, each with its last target, straight from the memory maps.

    All shards are seen as one array over the address space, of which element `a` is the row of `length + 1` tokens that
    begins `a` tokens behind the lowest shard. One index with the addresses of a batch then copies all of its rows,
    which costs the same for one shard and for thousands. Only rows that lie whole within a shard have an address.

    Args:
        splits: token streams of one dtype.
        length: tokens of context.

    Raises:
        ValueError: the streams are of several dtypes.
    """

    def __init__(self, splits: Sequence[TokenSplit], length: int) -> None:
        self._splits, self.length = splits, length
        shards = [shard.tokens for split in splits for shard in split.shards]
        dtypes = {tokens.dtype for tokens in shards}
        if len(dtypes) != 1:
            raise ValueError(f"token streams of one dtype are needed, not {sorted(map(str, dtypes))}")
        itemsize = dtypes.pop().itemsize
        self._sizes = np.array([len(tokens) for tokens in shards], np.int64)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._sizes)[:-1]])
        first_shard = np.cumsum([0, *(len(split.shards) for split in splits)])[:-1]
        self._first_token = self._starts[first_shard]
        pointers = np.array([tokens.ctypes.data for tokens in shards], np.int64)
        lowest = int(pointers.argmin())
        # Arrow aligns its buffers, so that shards lie whole tokens apart.
        self._addresses = (pointers - pointers[lowest]) // itemsize
        span = int((self._addresses + self._sizes).max())
        self._rows = as_strided(shards[lowest], (span, length + 1), (itemsize, itemsize), writeable=False)

    def places(self, source: Int, window: Int) -> Places:
        """[n] source numbers, [n] window numbers -> where they lie."""
        position = self._first_token[source] + window * self.length
        shard = np.searchsorted(self._starts, position, side="right") - 1
        inside = position - self._starts[shard]
        whole = inside + self.length < self._sizes[shard]
        return Places(source, window, np.where(whole, self._addresses[shard] + inside, -1), bool(whole.all()))

    def read(self, places: Places, chosen: Int) -> dict[str, torch.Tensor]:
        """Copy windows from the maps.

        Args:
            places: of windows.
            chosen: [n] which of them to read.

        Returns:
            `tokens` and `targets`, each [n, length] int64.
        """
        address = places.address[chosen]
        if places.whole or not (address < 0).any():
            rows = self._rows[address]
        else:
            rows = self._gather_one_by_one(places.source[chosen], places.window[chosen], address)
        tokens, targets = rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)
        return {"tokens": torch.from_numpy(tokens), "targets": torch.from_numpy(targets)}

    def _gather_one_by_one(self, sources: Int, windows: Int, addresses: Int) -> Tokens:
        rows = np.empty((len(addresses), self.length + 1), self._rows.dtype)
        for row, (source, window, address) in enumerate(zip(sources, windows, addresses, strict=True)):
            start = int(window) * self.length
            rows[row] = self._rows[address] if address >= 0 else self._splits[source].read(start, self.length + 1)
        return rows
