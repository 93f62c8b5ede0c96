"""Which document of a group of duplicates stays, and the pass that removes the others.

The keep rule is a total order, so that the choice depends neither on workers nor on arrival: higher score, then
earlier, then smaller id, then earlier in the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep import store
from data_prep.documents import DOCUMENT
from data_prep.manifest import FileRef
from data_prep.parquet import read_batches, unreadable
from data_prep.stage import RowWriter, Task, TaskOutput

MEMBER = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("score", pa.int64()),
        pa.field("created_utc", pa.int64()),
        pa.field("file", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)
"""A document without its text: what the keep rule looks at, and its place (`row` of input `file`, both from 0)."""
MEMBER_COLUMNS = ("id", "url", "score", "created_utc")
"""Those that are columns of `DOCUMENT` too."""

LOST = pa.schema(
    [
        pa.field("file", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),
        pa.field("kept_url", pa.string(), nullable=False),
        pa.field("jaccard", pa.float64()),
    ]
)
"""A document to remove, and its twin that stays; their exact Jaccard similarity where the two were compared."""

_KEEP_ORDER = [
    ("score", "descending"),
    ("created_utc", "ascending"),
    ("id", "ascending"),
    ("file", "ascending"),
    ("row", "ascending"),
]
TEXT_ROWS = 256
"""Rows with texts read at a time, which bounds the memory of a reader."""
_GROUP_ROWS, _GROUP_BYTES = 1024, 16 << 20


def members(batch: pa.RecordBatch, file: int, row: int) -> pa.Table:
    """The `MEMBER` columns of documents that stand from `row` on in input `file`."""
    columns = [batch.column(name) for name in MEMBER_COLUMNS]
    count = batch.num_rows
    return pa.table([*columns, np.full(count, file, np.int32), np.arange(row, row + count)], schema=MEMBER)


def split_group(members: pa.Table, group: str, first: str | None = None) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Keep one row for each value of the column `group`.

    Args:
        members: `MEMBER` columns and `group`; an unknown score counts as lowest, an unknown date as latest.
        group: name of a column.
        first: a further column; rows where it is highest stay before all others.

    Returns:
        The rows that stay; the others, sorted by place; and for each of the others the row that stays instead.
    """
    rule = [] if first is None else [(first, "descending")]
    ordered = members.sort_by([(group, "ascending"), *rule, *_KEEP_ORDER])
    if ordered.num_rows == 0:
        return ordered, ordered, ordered
    values = ordered.column(group).combine_chunks()
    is_first = np.ones(len(values), bool)
    is_first[1:] = pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    kept_at = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    lost_at = np.flatnonzero(~is_first)
    lost = ordered.take(lost_at)
    by_place = np.lexsort((lost.column("row").to_numpy(), lost.column("file").to_numpy()))
    return ordered.take(np.flatnonzero(is_first)), lost.take(by_place), ordered.take(kept_at[lost_at][by_place])


def lost_table(lost: pa.Table, kept: pa.Table, jaccard: npt.NDArray[np.float64] | None = None) -> pa.Table:
    """`LOST` rows from the last two results of `split_group`; NaN in `jaccard` means not compared."""
    if jaccard is None:
        jaccard = np.full(lost.num_rows, np.nan)
    columns = [lost.column("file"), lost.column("row"), kept.column("id"), kept.column("url")]
    return pa.table([*columns, pa.array(jaccard, pa.float64(), from_pandas=True)], schema=LOST)


def read_table(refs: Iterable[FileRef], schema: pa.Schema, filters: pc.Expression | None = None) -> pa.Table:
    """Parquet files as one table; with `filters` only the rows that meet them, found by row-group statistics.

    Raises:
        CorruptFile: a file is cut short or not Parquet.
    """
    tables = [schema.empty_table()]
    for ref in refs:
        with store.open_read(ref.path) as handle, unreadable(ref.path):
            tables.append(pq.read_table(handle, filters=filters).cast(schema))
    return pa.concat_tables(tables)


def write_partitions(
    out: TaskOutput, table: pa.Table, partition: npt.NDArray[np.integer[Any]], source: int, folder: str = ""
) -> None:
    """Write the rows of each partition to `<folder>PPPPP-SSSSS.parquet`.

    Args:
        partition: [rows] partition of each row.
        source: number of the task that writes, SSSSS.
    """
    for p in np.unique(partition):
        writer = out.rows(f"{folder}{p:05d}-{source:05d}.parquet", table.schema)
        writer.add_table(table.take(np.flatnonzero(partition == p)))


def remove_lost(task: Task, out: TaskOutput, reasons: Sequence[str]) -> None:
    """Copy the task's file of documents without those that the inputs named `reasons` call lost.

    The removal log gets the name of the input as reason, the Jaccard similarity as score and the kept twin as detail.
    Memory: the lost rows of this file, and a group of rows.
    """
    (source,) = task.inputs["documents"]
    lost = {
        row["row"]: (reason, row)
        for reason in reasons
        for row in read_table(task.inputs[reason], LOST, pc.field("file") == task.index).to_pylist()
    }
    numbers = np.array(sorted(lost), np.int64)
    writer = _Grouped(out.rows(f"part-{task.index:05d}.parquet", DOCUMENT))
    for batch in read_batches(source.path, TEXT_ROWS):
        first = out.rows_in
        out.rows_in += batch.num_rows
        stays = np.ones(batch.num_rows, bool)
        stays[numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, out.rows_in)] - first] = False
        for at in np.flatnonzero(~stays).tolist():
            reason, row = lost[first + at]
            id, url = batch.column("id")[at].as_py(), batch.column("url")[at].as_py()
            out.drop(reason, id=id, url=url, score=row["jaccard"], detail=f"kept {row['kept_id']} {row['kept_url']}")
        writer.add(batch if stays.all() else batch.filter(pa.array(stays)))
        out.rows_out += int(stays.sum())
        out.advance(out.rows_in, source.rows or out.rows_in, "documents")
    writer.close()


class _Grouped:
    """Gathers batches to row groups that are neither small nor large."""

    def __init__(self, writer: RowWriter) -> None:
        self._writer = writer
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self.close()

    def close(self) -> None:
        if self._rows:
            self._writer.add_table(pa.Table.from_batches(self._batches))
        self._batches, self._rows, self._bytes = [], 0, 0
