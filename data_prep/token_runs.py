"""Sorted runs: encoded documents on their way into a shuffle of the whole corpus.

A run is an Arrow IPC file (random access) of documents sorted by key and id, in record batches of some 256 KiB; the
schema's metadata names the first key of each batch, so that whoever wants a range of keys reads these batches alone.
Many runs, cut at the same keys and merged range by range, are one sorted sequence of any length in bounded memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import store
from data_prep.errors import CorruptFile
from data_prep.shards import Tokens

KEYS = 1 << 64
"""Keys are 0 .. KEYS - 1."""
_FIRST_KEYS = b"first_keys"
_BATCH_BYTES = 256 << 10
_SORT = [("key", "ascending"), ("id", "ascending")]
_TOKEN_TYPES = (pa.uint16(), pa.uint32())


def _schema(dtype: np.dtype[Any]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("key", pa.uint64(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("tokens", pa.list_(pa.from_numpy_dtype(dtype)), nullable=False),
            pa.field("text_bytes", pa.int64(), nullable=False),
            pa.field("words", pa.int64(), nullable=False),
        ]
    )


class RunBuffer:
    """Documents that will become runs. Memory: their tokens twice while they are written.

    Args:
        dtype: uint16 or uint32.

    Attributes:
        bytes: of the tokens held.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._schema = _schema(dtype)
        self._dtype = dtype
        self._parts: list[pa.Table] = []
        self._groups: list[npt.NDArray[np.int8]] = []
        self.bytes = 0

    def add(
        self,
        group: Sequence[int],
        keys: Sequence[int],
        ids: Sequence[str],
        tokens: Tokens,
        offsets: npt.NDArray[np.int64],
        text_bytes: Sequence[int],
        words: Sequence[int],
    ) -> None:
        """Append documents: document i has the tokens `offsets[i]` .. `offsets[i + 1]` and goes into run `group[i]`."""
        stream = pa.array(tokens.astype(self._dtype, copy=False))
        documents = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), stream)
        columns = [pa.array(keys, pa.uint64()), pa.array(ids, pa.string()), documents]
        columns += [pa.array(text_bytes, pa.int64()), pa.array(words, pa.int64())]
        self._parts.append(pa.Table.from_arrays(columns, schema=self._schema))
        self._groups.append(np.array(group, np.int8))
        self.bytes += stream.nbytes

    def take(self) -> Iterator[tuple[int, pa.Table, npt.NDArray[np.int64]]]:
        """(group, table, rows of the group in their order) for each group that has a document; then it is empty."""
        table = pa.concat_tables([self._schema.empty_table(), *self._parts]).combine_chunks()
        groups = np.concatenate([np.zeros(0, np.int8), *self._groups])
        self._parts, self._groups, self.bytes = [], [], 0
        order = pc.sort_indices(table.select(["key", "id"]), sort_keys=_SORT).to_numpy().astype(np.int64)
        for group in np.unique(groups).tolist():
            yield group, table, order[groups[order] == group]


def write_run(handle: IO[bytes], table: pa.Table, rows: npt.NDArray[np.int64]) -> None:
    """Write the given rows, in the given order, as a run; at least one."""
    lengths = pc.list_value_length(table.column("tokens")).to_numpy()[rows].astype(np.int64)
    width = table.schema.field("tokens").type.value_type.bit_width // 8
    before = (np.cumsum(lengths) - lengths) * width
    starts = np.flatnonzero(np.diff(before // _BATCH_BYTES, prepend=-1))
    first = table.column("key").to_numpy()[rows[starts]]
    schema = table.schema.with_metadata({_FIRST_KEYS: b",".join(b"%d" % key for key in first.tolist())})
    with pa.ipc.new_file(handle, schema) as writer:
        for batch_rows in np.split(rows, starts[1:]):
            (batch,) = table.take(batch_rows).combine_chunks().to_batches()
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def key_range(number: int, count: int) -> tuple[int, int]:
    """Bounds (first key, first key behind) of one of `count` equal ranges, which together are all keys."""
    low, high = (-(-i * KEYS // count) for i in (number, number + 1))
    return low, high


def read_range(path: str, low: int, high: int) -> Iterator[pa.RecordBatch]:
    """Documents of a run with `low` <= key < `high`, in order; memory-mapped where the file is local.

    Raises:
        CorruptFile: not a run.
    """
    handle = pa.memory_map(path) if store.is_local(path) else store.open_read(path)
    with handle:
        try:
            reader = pa.ipc.open_file(handle)
            first = [int(key) for key in (reader.schema.metadata or {})[_FIRST_KEYS].split(b",")]
            kind = reader.schema.field("tokens").type
            if not pa.types.is_list(kind) or kind.value_type not in _TOKEN_TYPES:
                raise pa.ArrowInvalid(f"tokens are {kind}")
            if not reader.schema.remove_metadata().equals(_schema(np.dtype(kind.value_type.to_pandas_dtype()))):
                raise pa.ArrowInvalid("other columns than those of a run")
            if len(first) != reader.num_record_batches or first != sorted(first):
                raise pa.ArrowInvalid("the list of first keys does not fit")
            # The batch before may end with the same key.
            for number in range(max(0, bisect_left(first, low) - 1), bisect_left(first, high)):
                batch = reader.get_batch(number)
                keys = batch.column("key").to_numpy()
                a = int(np.searchsorted(keys, np.uint64(low), "left"))
                b = int(np.searchsorted(keys, np.uint64(high - 1), "right"))
                part = batch.slice(a, max(0, b - a))
                part.validate(full=True)  # offsets ascend and end inside the tokens
                yield part
        except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError) as error:
            raise CorruptFile(
                f"not a run of tokens ({error})", where=path, fix="delete the file and run `data-prep run` again"
            ) from None


@dataclass(frozen=True)
class Merged:
    """Documents of one range of keys, in order.

    Attributes:
        ids: document ids.
        documents: token ids of each, views of the runs.
        text_bytes: UTF-8 bytes of all their texts.
        words: of all their texts.
    """

    ids: list[str] = field(default_factory=list)
    documents: list[Tokens] = field(default_factory=list)
    text_bytes: int = 0
    words: int = 0


def merge(batches: Sequence[pa.RecordBatch]) -> Merged:
    """Put documents of several runs in order: by key, then by id, then as they come."""
    if not batches:
        return Merged()
    table = pa.Table.from_batches([b.select(["key", "id", "text_bytes", "words"]) for b in batches])
    table = table.replace_schema_metadata(None)
    views: list[Tokens] = []
    for batch in batches:
        column = batch.column("tokens")
        tokens, bounds = column.values.to_numpy(), column.offsets.to_numpy().tolist()
        views += [tokens[start:end] for start, end in pairwise(bounds)]
    order = pc.sort_indices(table.select(["key", "id"]), sort_keys=_SORT)
    return Merged(
        ids=table.column("id").take(order).to_pylist(),
        documents=[views[i] for i in order.to_pylist()],
        text_bytes=pc.sum(table.column("text_bytes")).as_py() or 0,
        words=pc.sum(table.column("words")).as_py() or 0,
    )
