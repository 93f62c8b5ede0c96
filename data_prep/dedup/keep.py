"""Which document of a group of duplicates stays, and the pass that removes the others.

The keep rule is a total order, so that the choice depends neither on workers nor on arrival: higher score, then
earlier, then smaller id, then earlier in the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import store
from data_prep.documents import DOCUMENT, read_rows
from data_prep.manifest import FileRef
from data_prep.stage import Task, TaskOutput

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

LOST = pa.schema(
    [
        pa.field("file", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),
        pa.field("kept_url", pa.string(), nullable=False),
    ]
)
"""A document to remove, and its twin that stays."""

_KEEP_ORDER = [
    ("score", "descending"),
    ("created_utc", "ascending"),
    ("id", "ascending"),
    ("file", "ascending"),
    ("row", "ascending"),
]


def member(document: Mapping[str, Any], file: int, row: int) -> dict[str, Any]:
    """The `MEMBER` columns of a document at its place."""
    return {**{name: document[name] for name in ("id", "url", "score", "created_utc")}, "file": file, "row": row}


def split_group(members: pa.Table, group: str) -> tuple[pa.Table, pa.Table]:
    """Keep one row for each value of the column `group`.

    Args:
        members: `MEMBER` columns and `group`; an unknown score counts as lowest, an unknown date as latest.

    Returns:
        The rows that stay (all columns), and the others as `LOST`, sorted by place.
    """
    ordered = members.sort_by([(group, "ascending"), *_KEEP_ORDER])
    if ordered.num_rows == 0:
        return ordered, LOST.empty_table()
    values = ordered.column(group).combine_chunks()
    first = np.ones(len(values), bool)
    first[1:] = pa.compute.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    kept_at = np.flatnonzero(first)[np.cumsum(first) - 1]
    lost_at = np.flatnonzero(~first)
    kept = ordered.take(kept_at[lost_at])
    lost = ordered.take(lost_at)
    table = pa.table(
        [lost.column("file"), lost.column("row"), kept.column("id"), kept.column("url")], schema=LOST
    ).sort_by([("file", "ascending"), ("row", "ascending")])
    return ordered.take(np.flatnonzero(first)), table


def read_table(refs: Iterable[FileRef], schema: pa.Schema, file: int | None = None) -> pa.Table:
    """Parquet files as one table; with `file`, only the rows about that input file (by row-group statistics)."""
    tables = [schema.empty_table()]
    for ref in refs:
        with store.open_read(ref.path) as handle:
            filters = None if file is None else [("file", "==", file)]
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

    The removal log gets the name of the input as reason and the kept twin as detail. Memory: the lost rows of this
    file.
    """
    (source,) = task.inputs["documents"]
    lost = {
        row["row"]: (reason, f"kept {row['kept_id']} {row['kept_url']}")
        for reason in reasons
        for row in read_table(task.inputs[reason], LOST, task.index).to_pylist()
    }
    writer = out.rows(f"part-{task.index:05d}.parquet", DOCUMENT)
    for number, document in enumerate(read_rows(source.path)):
        out.rows_in += 1
        out.advance(out.rows_in, source.rows or out.rows_in, "documents")
        if number in lost:
            reason, detail = lost[number]
            out.drop(reason, id=document["id"], url=document["url"], detail=detail)
        else:
            writer.add(document)
            out.rows_out += 1
