"""What a model remembers of the tokens that it has read: keys and values of attention, the state of an LSTM.

A cache has rows (sequences) and slots (one for each column of the tokens that were fed, padding included). Which slot a
query may see follows from the tokens' places in their sequences, so that rows of different lengths share a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

NOWHERE = 1 << 40
"""Place of padding: behind every token, so that none sees it."""
_ROOM = 64
"""Slots that are added at once to a growing cache."""


class Reading(Protocol):
    """One pass of further tokens through the layers.

    Attributes:
        positions: [rows, time] int64 indices of the position embedding, 0 for padding.
        lengths: [rows] int64, tokens that are no padding.
    """

    positions: Tensor
    lengths: Tensor

    def attend(self, layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, width: int | None) -> Tensor | None:
        """Remember keys and values of a layer; what its queries see of all slots, each at most `width` tokens.

        Args:
            layer: one of attention.
            query: [rows, heads, time, d_head]; `key` and `value` too.
            width: of a band, or None.

        Returns:
            [rows, heads, time, d_head]; None if causal attention without a mask does: nothing was read before, and
            padding stands on the right.
        """

    def state(self, layer: nn.Module) -> tuple[Tensor, Tensor] | None:
        """What `remember` was given last, [1, rows, units] each; None at the start."""

    def remember(self, layer: nn.Module, state: tuple[Tensor, Tensor]) -> None:
        """Keep the state of a recurrent layer behind each row's last token."""

    def done(self) -> None:
        """All layers have read the tokens."""


class Memory(Protocol):
    """What was read of some sequences: a `Cache`, or several as one."""

    @property
    def lengths(self) -> Tensor:
        """[rows] int64, tokens read so far."""

    def branch(self, rows: Tensor) -> Memory:
        """A memory that goes on from rows of this one, which stays as it is.

        Args:
            rows: [new rows] int64.
        """

    def read(self, tokens: Tensor, lengths: Tensor, keep: bool = True) -> Reading:
        """Begin to read further tokens; `Reading.done` ends it.

        Args:
            tokens: [rows, time] int64, padded on the right.
            lengths: [rows] int64, how many of them are no padding.
            keep: remember them; a memory that does not cannot be used any more.
        """


class Cache:
    """The memory of some sequences.

    Args:
        rows: number of sequences.
        device: where the tensors live.
        document_end: id of the token that ends a document, for models whose attention stays within one; else None.

    Attributes:
        slots: columns read so far.
        lengths: [rows] int64, tokens read so far.
    """

    def __init__(self, rows: int, device: torch.device, document_end: int | None = None) -> None:
        self.slots = 0
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        self._document_end = document_end
        self._places = torch.empty((rows, 0), dtype=torch.int64, device=device)
        self._begins = torch.empty((rows, 0), dtype=torch.int64, device=device)
        self._begin = torch.zeros_like(self.lengths)  # of the document that the last token belongs to
        self._ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self._keys: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._states: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._selected: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of sequences."""
        return len(self.lengths)

    def branch(self, rows: Tensor) -> Self:
        """A cache that goes on from rows of this one, in any order and number; this one stays as it is.

        Args:
            rows: [new rows] int64. Keys and values are copied layer by layer, as they are needed.
        """
        new = type(self)(0, self.lengths.device, self._document_end)
        new.slots, new.lengths = self.slots, self.lengths[rows]
        new._selected = rows if self._selected is None else self._selected[rows]
        new._places, new._begins = self._places[rows], self._begins[rows]
        new._begin, new._ended = self._begin[rows], self._ended[rows]
        new._keys, new._states = dict(self._keys), dict(self._states)
        return new

    def read(self, tokens: Tensor, lengths: Tensor, keep: bool = True) -> CacheReading:
        """`Memory.read`."""
        return CacheReading(self, tokens, lengths, keep)


class CacheReading:
    """A `Reading` of a cache."""

    def __init__(self, cache: Cache, tokens: Tensor, lengths: Tensor, keep: bool) -> None:
        self.cache, self.lengths, self._first, self._keep = cache, lengths, cache.slots == 0, keep
        self.time = tokens.shape[1]
        column = torch.arange(self.time, device=tokens.device)
        padding = column >= lengths[:, None]
        places = cache.lengths[:, None] + column
        self._ended = cache._ended
        begins = torch.zeros_like(places)
        if cache._document_end is not None:
            ends = tokens == cache._document_end
            before = torch.cat([cache._ended[:, None], ends[:, :-1]], 1)
            starts = torch.where(before, places, cache._begin[:, None])
            begins = starts.cummax(1).values
            last = (lengths - 1).clamp(min=0)[:, None]
            read = lengths > 0
            self._ended = torch.where(read, ends.gather(1, last)[:, 0], cache._ended)
            cache._begin = torch.where(read, begins.gather(1, last)[:, 0], cache._begin)
        self.positions = (places - begins).masked_fill(padding, 0)
        self._places = places.masked_fill(padding, NOWHERE)
        self._begins = begins
        cache._places = torch.cat([cache._places, self._places], 1)
        cache._begins = torch.cat([cache._begins, begins], 1)
        self._masks: dict[int | None, Tensor] = {}

    def mask(self, width: int | None) -> Tensor:
        """[rows, 1, time, slots] bool: query i sees its own document up to itself, at most `width` tokens of it."""
        if width not in self._masks:
            distance = self._places[:, :, None] - self.cache._places[:, None, :]
            seen = distance >= 0
            if width is not None:
                seen &= distance < width
            if self.cache._document_end is not None:
                seen &= self._begins[:, :, None] == self.cache._begins[:, None, :]
            # A query that is padding sees padding: a row of a softmax must not be empty.
            seen |= (self._places == NOWHERE)[:, :, None] & (self.cache._places == NOWHERE)[:, None, :]
            self._masks[width] = seen[:, None]
        return self._masks[width]

    def attend(self, layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, width: int | None) -> Tensor | None:
        """`Reading.attend`."""
        key, value = self._attended(layer, key, value)
        if self._first and self.cache._document_end is None:
            return None
        return functional.scaled_dot_product_attention(query, key, value, self.mask(width))

    def _attended(self, layer: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Remember keys and values [rows, heads, time, d_head] of a layer; returns those of all slots."""
        cache, slots, wanted = self.cache, self.cache.slots, self.cache.slots + self.time
        held = cache._keys.get(layer)
        if held is None:
            if self._keep:
                cache._keys[layer] = key.contiguous(), value.contiguous()
            return key, value
        if cache._selected is not None:
            # Exactly as many slots as are needed: most branches are read once.
            held = tuple(  # type: ignore[assignment]
                torch.cat([old[cache._selected, :, :slots], new], 2)
                for old, new in zip(held, (key, value), strict=True)
            )
        else:
            if held[0].shape[2] < wanted:
                held = _grown(held[0], wanted + _ROOM), _grown(held[1], wanted + _ROOM)
            held[0][:, :, slots:wanted], held[1][:, :, slots:wanted] = key, value
        if self._keep:
            cache._keys[layer] = held
        return held[0][:, :, :wanted], held[1][:, :, :wanted]

    def state(self, layer: nn.Module) -> tuple[Tensor, Tensor] | None:
        """`Reading.state`."""
        held = self.cache._states.get(layer)
        if held is not None and self.cache._selected is not None:
            return held[0][:, self.cache._selected], held[1][:, self.cache._selected]
        return held

    def remember(self, layer: nn.Module, state: tuple[Tensor, Tensor]) -> None:
        """`Reading.remember`."""
        self.cache._states[layer] = state

    def done(self) -> None:
        """`Reading.done`."""
        self.cache.slots += self.time
        self.cache.lengths = self.cache.lengths + self.lengths
        self.cache._ended, self.cache._selected = self._ended, None


class JoinedCache:
    """Caches that are read as one: the rows of the first, then those of the second, and so on.

    They may have different numbers of slots. Matrices are applied to all rows together, and attention is computed for
    each cache by itself, so that none takes part in the numbers of another.

    Args:
        parts: each has read something, by the same layers.
    """

    def __init__(self, parts: Sequence[Cache]) -> None:
        self._parts = list(parts)

    @property
    def lengths(self) -> Tensor:
        """[rows] int64, tokens read so far."""
        return torch.cat([part.lengths for part in self._parts])

    def branch(self, rows: Tensor) -> JoinedCache:
        """`Memory.branch`; rows of an earlier part stand before those of a later one, in any order otherwise."""
        kept, first = [], 0
        for part in self._parts:
            mine = rows[(rows >= first) & (rows < first + part.rows)] - first
            if len(mine):
                kept.append(part.branch(mine))
            first += part.rows
        return JoinedCache(kept)

    def read(self, tokens: Tensor, lengths: Tensor, keep: bool = True) -> Reading:
        """`Memory.read`."""
        counts = [part.rows for part in self._parts]
        pieces = zip(self._parts, torch.split(tokens, counts), torch.split(lengths, counts), strict=True)
        return _JoinedReading([part.read(some, long, keep) for part, some, long in pieces], counts)


class _JoinedReading:
    """A `Reading` of several caches."""

    def __init__(self, parts: Sequence[CacheReading], counts: list[int]) -> None:
        self._parts, self._counts = parts, counts
        self.positions = torch.cat([part.positions for part in parts])
        self.lengths = torch.cat([part.lengths for part in parts])

    def attend(self, layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, width: int | None) -> Tensor | None:
        rows = zip(*(torch.split(given, self._counts) for given in (query, key, value)), strict=True)
        found = [part.attend(layer, q, k, v, width) for part, (q, k, v) in zip(self._parts, rows, strict=True)]
        seen = [one for one in found if one is not None]
        assert len(seen) == len(found), "a part has read nothing"
        return torch.cat(seen)

    def state(self, layer: nn.Module) -> tuple[Tensor, Tensor] | None:
        held = [state for part in self._parts if (state := part.state(layer)) is not None]
        hidden, cell = zip(*held, strict=True)
        return torch.cat(hidden, 1), torch.cat(cell, 1)

    def remember(self, layer: nn.Module, state: tuple[Tensor, Tensor]) -> None:
        hidden, cell = (torch.split(given, self._counts, 1) for given in state)
        for part, one, other in zip(self._parts, hidden, cell, strict=True):
            part.remember(layer, (one, other))

    def done(self) -> None:
        for part in self._parts:
            part.done()


def _grown(old: Tensor, slots: int) -> Tensor:
    new = old.new_empty((*old.shape[:2], slots, old.shape[3]))
    new[:, :, : old.shape[2]] = old
    return new
