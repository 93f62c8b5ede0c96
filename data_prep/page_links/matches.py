"""Stage page-links: links, and addresses of pages -> which task of `pages` needs which links."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep import store
from data_prep.configfile import Settings
from data_prep.links import LINK
from data_prep.manifest import FileRef
from data_prep.page_links.addresses import ADDRESS
from data_prep.page_links.redirects import PAGE_LINK
from data_prep.parquet import read_batches, unreadable
from data_prep.stage import Stage, Task, TaskOutput

MATCH = pa.schema([ADDRESS.field("task"), *PAGE_LINK])
"""A link beside a page that belongs to it and the number of a task that will find the page."""
_GROUP_ROWS = 4096


class PageLinksStage(Stage):
    """Addresses, links and redirected links of one partition -> `part-PPPPP.parquet`, rows of `MATCH` sorted by task.

    Holds in memory the addresses and links of one partition.

    Args:
        partitions: as in the stages before.
    """

    name = "page-links"

    def __init__(
        self,
        folder: str,
        settings: Settings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        partitions: int,
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.partitions = partitions

    def plan(self) -> list[Task]:
        """One task per partition."""
        return [
            Task(
                p,
                {
                    label: [ref for ref in refs if posixpath.basename(ref.path).removeprefix("part-")[:5] == f"{p:05d}"]
                    for label, refs in self.inputs.items()
                },
                {"partition": p},
            )
            for p in range(self.partitions)
        ]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Join one partition."""
        own = _read(task.inputs["links"], LINK)
        zero = pa.repeat(pa.scalar(0, pa.int32()), own.num_rows)
        links = pa.concat_tables(
            [
                pa.table([own["id"], zero, *own.columns], schema=PAGE_LINK),
                _read(task.inputs["redirects"], PAGE_LINK),
            ]
        )
        addresses = _read(task.inputs["addresses"], ADDRESS)
        matches = match(addresses, links)
        writer = out.rows(f"part-{task.params['partition']:05d}.parquet", MATCH)
        for start in range(0, matches.num_rows, _GROUP_ROWS):
            writer.add_table(matches.slice(start, _GROUP_ROWS))
        out.rows_in, out.rows_out = addresses.num_rows, matches.num_rows
        out.extra["links-with-page"] = len(pc.unique(matches["id"]))
        out.extra["links-through-redirect"] = len(pc.unique(matches.filter(pc.greater(matches["hops"], 0))["id"]))


def match(addresses: pa.Table, links: pa.Table) -> pa.Table:
    """Rows of `MATCH`, each (task, page, link) once with its fewest hops, sorted by these.

    Args:
        addresses: rows of `ADDRESS`.
        links: rows of `PAGE_LINK`.
    """
    addresses = addresses.filter(pc.is_in(addresses["page"], value_set=links["page"].combine_chunks()))
    addresses = addresses.group_by(["page", "task"], use_threads=False).aggregate([])
    links = links.sort_by([("page", "ascending"), ("id", "ascending"), ("hops", "ascending")])
    rest = [name for name in PAGE_LINK.names if name not in ("page", "id")]
    first = links.group_by(["page", "id"], use_threads=False).aggregate([(name, "first") for name in rest])
    links = pa.table({name: first[name if name in ("page", "id") else f"{name}_first"] for name in PAGE_LINK.names})
    joined = addresses.join(links, "page", join_type="inner", use_threads=False)
    return (
        joined.select(MATCH.names)
        .sort_by([("task", "ascending"), ("page", "ascending"), ("id", "ascending")])
        .cast(MATCH)
    )


def links_of_task(files: Sequence[FileRef], number: int) -> dict[str, list[dict[str, Any]]]:
    """What one task of `pages` needs of all matches: page id -> its links, rows of `MATCH`.

    Reads only the row groups that hold the task.

    Raises:
        CorruptFile: a file is cut short or not Parquet.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for ref in files:
        if ref.rows == 0:
            continue
        with store.open_read(ref.path) as handle, unreadable(ref.path):
            parquet = pq.ParquetFile(handle)
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group)
                tasks = rows.column(0).statistics
                if rows.num_rows and tasks.min <= number <= tasks.max:
                    table = parquet.read_row_group(group)
                    for row in table.filter(pc.equal(table["task"], number)).to_pylist():
                        found.setdefault(row["page"], []).append(row)
    return found


def _read(files: Sequence[FileRef], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([batch for ref in files if ref.rows != 0 for batch in read_batches(ref.path)], schema)
