"""Stage redirects: links -> the pages they lead to through recorded redirects."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.configfile import Settings
from data_prep.links import LINK
from data_prep.manifest import FileRef
from data_prep.page_links.addresses import REDIRECT
from data_prep.parquet import read_batches
from data_prep.stage import RowWriter, Stage, Task, TaskOutput
from data_prep.urls import partition_of, url_id

MAX_HOPS = 10
"""Redirects of a chain that are followed (ours); the Fetch standard lets browsers follow 20."""
PAGE_LINK = pa.schema(
    [pa.field("page", pa.string(), nullable=False), pa.field("hops", pa.int32(), nullable=False), *LINK]
)
"""A link beside the id of a page that belongs to it; `hops`: redirects between them, 0 if the page's URL is its own."""


class RedirectsStage(Stage):
    """Links and redirects -> `PPPPP-00000.parquet`, rows of `PAGE_LINK` with hops >= 1, by partition P of the page.

    One task, which takes all links one redirect further at a time and ends as soon as none moves: without redirects
    it reads nothing. Where an address was seen to redirect to several, the earliest capture counts (the nearest to the
    submission, as a rule), and of one date the first target. Holds in memory one partition of redirects and a batch of
    links; links under way wait in a temporary file.

    Args:
        partitions: as in the stages before.
    """

    name = "redirects"

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
        """One task."""
        inputs = {label: self.inputs[label] for label in ("links", "redirects")}
        return [Task(0, inputs, {"partitions": self.partitions, "hops": MAX_HOPS})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Follow all links."""
        found = [out.rows(f"{p:05d}-00000.parquet", PAGE_LINK) for p in range(self.partitions)]
        edges = [_of(task.inputs["redirects"], p) for p in range(self.partitions)]
        at = [_of(task.inputs["links"], p, "part-") for p in range(self.partitions)]
        with tempfile.TemporaryDirectory() as scratch:
            for hop in range(1, MAX_HOPS + 1):
                reached = [Path(scratch) / f"{hop}-{p}.parquet" for p in range(self.partitions)]
                moved = self._hop(hop, at, edges, reached, found)
                out.rows_in = out.rows_out = out.rows_out + moved
                out.advance(hop, MAX_HOPS, "hops")
                if not moved:
                    break
                for path in (path for paths in at for path in paths if path.startswith(scratch)):
                    Path(path).unlink()
                at = [[str(path)] for path in reached]

    def _hop(
        self,
        hop: int,
        at: list[list[str]],
        edges: list[list[str]],
        reached: list[Path],
        found: list[RowWriter],
    ) -> int:
        """Take all links that are `at` an address one redirect further; how many moved."""
        moved = 0
        handles = [path.open("wb") for path in reached]
        waiting = [RowWriter(handle, PAGE_LINK) for handle in handles]
        for here, out_of_here in zip(at, edges, strict=True):
            step = first_redirects(out_of_here)
            if step.num_rows == 0:
                continue
            for batch in _links_at(here, hop):
                rows = follow(batch, step)
                target = np.array([partition_of(page, self.partitions) for page in rows["page"].to_pylist()], np.int64)
                for p in np.unique(target):
                    mine = rows.filter(pa.array(target == p))
                    found[p].add_table(mine)
                    waiting[p].add_table(mine)
                    moved += mine.num_rows
        for writer, handle in zip(waiting, handles, strict=True):
            writer.close()
            handle.close()
        return moved


def first_redirects(paths: Sequence[str]) -> pa.Table:
    """One redirect of each address out of files of `REDIRECT`, sorted by `page`; `target_page`: id of its target."""
    tables = [pa.Table.from_batches(read_batches(path), REDIRECT) for path in paths]
    rows = pa.concat_tables(tables) if tables else REDIRECT.empty_table()
    rows = rows.sort_by([("page", "ascending"), ("date", "ascending"), ("target", "ascending")])
    # One thread: with more, "first" is the first to arrive.
    first = rows.group_by("page", use_threads=False).aggregate([("target", "first")])
    targets = pa.array([url_id(url) for url in first["target_first"].to_pylist()], pa.string())
    return pa.table({"page": first["page"], "target_page": targets})


def follow(links: pa.Table, step: pa.Table) -> pa.Table:
    """Links at an address, one redirect further; those that cannot go on, or come back to their own address, are gone.

    Args:
        links: rows of `PAGE_LINK`.
        step: from `first_redirects`.
    """
    where = pc.index_in(links["page"], value_set=step["page"])
    going = links.filter(pc.is_valid(where))
    target = step["target_page"].take(where.drop_null())
    going = going.set_column(0, PAGE_LINK.field("page"), target)
    going = going.set_column(1, PAGE_LINK.field("hops"), pc.add(going["hops"], pa.scalar(1, pa.int32())))
    return going.filter(pc.not_equal(going["page"], going["id"]))


def _links_at(paths: Sequence[str], hop: int) -> Iterator[pa.Table]:
    for path in paths:
        for batch in read_batches(path):
            table = pa.Table.from_batches([batch])
            if hop == 1:
                zero = pa.repeat(pa.scalar(0, pa.int32()), table.num_rows)
                table = pa.table([table["id"], zero, *table.columns], schema=PAGE_LINK)
            yield table


def _of(files: Sequence[FileRef], partition: int, before: str = "") -> list[str]:
    """The files of one partition that hold rows."""
    name = f"{before}{partition:05d}"
    return [ref.path for ref in files if ref.path.rpartition("/")[2].startswith(name) and ref.rows != 0]
