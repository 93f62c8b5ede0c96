"""Stage common-crawl-keys: links sorted by the key of the index; and how sorted keys are cut into tasks."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep import store
from data_prep.common_crawl.surt import surt_key
from data_prep.manifest import FileRef
from data_prep.parquet import read_batches, unreadable
from data_prep.stage import Stage, Task, TaskOutput

KEY = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("created_utc", pa.int64(), nullable=False),
    ]
)
"""A link and its key (see `surt_key`)."""
_GROUP_ROWS = 4096


class KeysStage(Stage):
    """Links -> `part-PPPPP.parquet`, rows of `KEY` sorted by key and id, one task per file of links.

    Holds in memory the links of one file.
    """

    name = "common-crawl-keys"

    def plan(self) -> list[Task]:
        """One task for each file of links."""
        return self.one_task_per_file("links")

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Sort one file."""
        batches = [batch.select(["id", "url", "created_utc"]) for batch in read_batches(task.inputs["links"][0].path)]
        links = pa.Table.from_batches(batches, pa.schema([KEY.field(name) for name in ("id", "url", "created_utc")]))
        keys = pa.array([surt_key(url) for url in links["url"].to_pylist()], pa.string())
        rows = pa.table([keys, *links.columns], schema=KEY).sort_by([("key", "ascending"), ("id", "ascending")])
        writer = out.rows(f"part-{task.index:05d}.parquet", KEY)
        for start in range(0, rows.num_rows, _GROUP_ROWS):
            writer.add_table(rows.slice(start, _GROUP_ROWS))
        out.rows_in = out.rows_out = rows.num_rows


def key_ranges(files: Sequence[FileRef], rows: int) -> list[tuple[str, str | None]]:
    """Ranges [from, until) of keys that together hold all rows, each about `rows`; the last one has no end.

    Known from what Parquet footers say of each row group's first key: no row is read.
    """
    firsts: list[tuple[str, int]] = []
    for ref in files:
        if ref.rows == 0:
            continue
        with store.open_read(ref.path) as handle, unreadable(ref.path):
            metadata = pq.ParquetFile(handle).metadata
            for i in range(metadata.num_row_groups):
                group = metadata.row_group(i)
                firsts.append((_span(group)[0], group.num_rows))
    firsts.sort()
    edges, seen = [""], 0
    for first, count in firsts:
        if seen >= rows and first > edges[-1]:
            edges.append(first)
            seen = 0
        seen += count
    return [(start, end) for start, end in zip(edges, [*edges[1:], None], strict=True)]


def read_range(files: Sequence[FileRef], start: str, end: str | None) -> pa.Table:
    """The rows of `KEY` with start <= key < end out of sorted files, sorted by key and id.

    Raises:
        CorruptFile: a file is cut short or not Parquet.
    """
    tables = [KEY.empty_table()]
    for ref in files:
        if ref.rows == 0:
            continue
        with store.open_read(ref.path) as handle, unreadable(ref.path):
            parquet = pq.ParquetFile(handle)
            for i in range(parquet.num_row_groups):
                first, last = _span(parquet.metadata.row_group(i))
                if (last is not None and last < start) or (end is not None and first >= end):
                    continue
                table = parquet.read_row_group(i)
                table = table.filter(pc.greater_equal(table["key"], start))
                tables.append(table if end is None else table.filter(pc.less(table["key"], end)))
    return pa.concat_tables(tables).sort_by([("key", "ascending"), ("id", "ascending")])


def _span(group: pq.RowGroupMetaData) -> tuple[str, str | None]:
    """First and last key of a row group; ("", None) if its footer does not say, as for keys of some thousand bytes."""
    statistics = group.column(0).statistics
    return (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else ("", None)
