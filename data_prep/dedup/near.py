"""Near dedup: signatures -> edges (-> verified edges) -> clusters -> filter.

Documents that share a band of their MinHash signature are candidates. With `verify` they are joined if the exact
Jaccard similarity of their word n-grams reaches the threshold (`verify`), otherwise all are. Of every connected cluster
one document stays; clusters are found by one task (`clusters`), or by many (`star_stages`).

Documents of other corpora take part and are never removed: of a cluster that holds one, all others go.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.dedup import keep, numbers
from data_prep.dedup.bands import candidates, edges
from data_prep.dedup.minhash import MinHash
from data_prep.dedup.settings import EdgesSettings, SignatureSettings
from data_prep.dedup.shingles import Hashes, Numbers, Texts
from data_prep.manifest import FileRef, Totals
from data_prep.parquet import read_batches
from data_prep.stage import RowWriter, Stage, Task, TaskOutput

BAND = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("document", pa.int64(), nullable=False),
        pa.field("size", pa.int64()),
    ]
)
"""Band key of a document (`numbers`) and how many n-grams it has, where candidates will be verified."""
EDGE = pa.schema(
    [
        pa.field("left", pa.int64(), nullable=False),
        pa.field("right", pa.int64(), nullable=False),
        pa.field("jaccard", pa.float64()),
    ]
)
"""Two documents, left < right, and their exact Jaccard similarity if they were compared."""
NEAR_DUPLICATE, IN_OTHER_CORPUS = "near-duplicate", "in-other-corpus"
EDGES, PAIRS, BANDS, MEMBERS = "edges-", "pairs-", "bands/", "members/"
_SLICE_KEYS = 1 << 21
_CHUNK_PAIRS = 1 << 21
_ROW_GROUP = 1 << 16


class NearSignaturesStage(Stage):
    """Documents to band keys as sorted runs, one a partition (`bands/`), and what the keep rule needs (`members/`).

    A document without a word has no near-duplicates. Memory: some 40 bytes a band and 200 bytes a document of one file,
    and the texts of a group of rows.
    """

    name = "near-signatures"
    revision = 2
    settings: SignatureSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents, and of other corpora."""
        tasks = self.one_task_per_file("documents")
        others = self.inputs.get("against", [])
        return tasks + [
            Task(len(tasks) + i, {"against": [ref]}, {"file": numbers.OTHER_CORPORA + i})
            for i, ref in enumerate(others)
        ]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Sign every document of one file."""
        ((source,),) = task.inputs.values()
        file = int(task.params.get("file", task.index))
        settings = self.settings
        minhash = MinHash(settings.ngram, settings.bands, settings.rows, settings.seed)
        members, keys, sizes = [keep.MEMBER.empty_table()], [], []
        for batch in read_batches(source.path, keep.TEXT_ROWS, [*keep.MEMBER_COLUMNS, "text"]):
            batch_keys, batch_sizes = minhash.band_keys(Texts.of(batch.column("text")))
            some = batch_sizes > 0
            members.append(keep.members(batch, file, out.rows_in).filter(pa.array(some)))
            keys.append(batch_keys[some])
            sizes.append(batch_sizes[some])
            out.rows_in += batch.num_rows
            out.advance(out.rows_in, source.rows or out.rows_in, "documents")
        table = pa.concat_tables(members)
        if keys:
            self._write_runs(out, task, np.concatenate(keys), numbers.of_members(table), np.concatenate(sizes))
        out.rows(members_name(file), keep.MEMBER).add_table(table)
        out.rows_out = table.num_rows

    def _write_runs(self, out: TaskOutput, task: Task, keys: Hashes, documents: Numbers, sizes: Numbers) -> None:
        key = keys.reshape(-1)
        order = np.argsort(key, kind="stable")
        key, entry = key[order], order // self.settings.bands
        size = pa.array(sizes[entry]) if self.settings.verify else pa.nulls(len(key), pa.int64())
        table = pa.table([key, documents[entry], size], schema=BAND)
        partitions = self.settings.partitions
        starts = np.searchsorted(key, np.array([_lowest(p, partitions) for p in range(partitions)], np.uint64))
        for p, (start, end) in enumerate(zip(starts, [*starts[1:], len(key)], strict=True)):
            if end > start:
                writer = out.rows(f"{BANDS}{p:05d}-{task.index:05d}.parquet", BAND)
                _write_groups(writer, table.slice(start, end - start))


class NearEdgesStage(Stage):
    """Band keys of one partition to edges (`edges-`), or to candidate pairs if they will be verified (`pairs-`).

    The runs are read a range of keys at a time. Memory: some 60 bytes for each of two million keys, or of those of the
    largest bucket if that is more; and as much for two million pairs.
    """

    name = "near-edges"
    revision = 2
    settings: EdgesSettings

    def plan(self) -> list[Task]:
        """One task for each partition."""
        return self.one_task_per_partition("bands", self.settings.partitions)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Join what shares a key."""
        prefix = PAIRS if self.settings.verify else EDGES
        writer = out.rows(f"{prefix}{task.index:05d}.parquet", EDGE)
        for table in _key_ranges(task.inputs["bands"], task.params["partition"], self.settings.partitions):
            out.rows_in += table.num_rows
            for left, right in self._join(table, out):
                _write_groups(writer, edge_table(left, right))
                out.rows_out += len(left)
            out.advance(out.rows_in, sum(ref.rows or 0 for ref in task.inputs["bands"]), "keys")

    def _join(self, table: pa.Table, out: TaskOutput) -> Iterator[tuple[Numbers, Numbers]]:
        key, document = table.column("key").to_numpy(), table.column("document").to_numpy()
        if not self.settings.verify:
            yield edges(key, document)
            return
        size = table.column("size").to_numpy()
        pairs = candidates(key, document, size, self.settings.pairs_per_document)
        out.extra["pairs_left_out"] += pairs.left_out
        for left, right in pairs.chunks(_CHUNK_PAIRS):
            # Documents of other corpora stay whatever they are like: they are not compared with each other.
            own = left < numbers.OTHER_CORPORA << numbers.FILE_SHIFT
            yield left[own], right[own]

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """A warning if buckets were so large that not all their pairs will be compared."""
        left_out = totals.extra.get("pairs_left_out", 0)
        if not left_out:
            return {}
        most = self.settings.pairs_per_document
        return {
            "pairs_left_out": left_out,
            "warning": f"{left_out:,} pairs of buckets of more than {most + 1} documents are not compared, those least "
            "alike in length: raise near_dedup.pairs_per_document, or rows",
        }


class NearDedupStage(Stage):
    """Documents without those that the clusters call lost. Memory: the lost rows of one file, a group of rows."""

    name = "near-dedup"
    revision = 2

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=[NEAR_DUPLICATE, IN_OTHER_CORPUS])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Copy what stays."""
        keep.remove_lost(task, out, [NEAR_DUPLICATE, IN_OTHER_CORPUS])


def members_name(file: int) -> str:
    """Name of the file with the members of an input file."""
    own = file < numbers.OTHER_CORPORA
    return f"{MEMBERS}part-{file:05d}.parquet" if own else f"{MEMBERS}other-{file - numbers.OTHER_CORPORA:05d}.parquet"


def file_of_members(path: str) -> int:
    """Inverse of `members_name`."""
    kind, _, number = posixpath.splitext(posixpath.basename(path))[0].partition("-")
    return int(number) + (numbers.OTHER_CORPORA if kind == "other" else 0)


def edge_table(left: Numbers, right: Numbers, jaccard: pa.Array | None = None) -> pa.Table:
    """`EDGE` rows."""
    return pa.table([left, right, pa.nulls(len(left), pa.float64()) if jaccard is None else jaccard], schema=EDGE)


def _lowest(partition: int, partitions: int) -> int:
    """The lowest key of a partition."""
    return -(-(partition << 64) // partitions)


def _key_ranges(refs: Sequence[FileRef], partition: int, partitions: int) -> Iterator[pa.Table]:
    """The entries of a partition, some millions at a time, equal keys together; keys are spread evenly."""
    parts = max(1, math.ceil(sum(ref.rows or 0 for ref in refs) / _SLICE_KEYS))
    if parts == 1:
        yield keep.read_table(refs, BAND)
        return
    for part in range(parts):
        low = _lowest(partition * parts + part, partitions * parts)
        high = _lowest(partition * parts + part + 1, partitions * parts) - 1
        key = pc.field("key")
        inside = (key >= pa.scalar(low, pa.uint64())) & (key <= pa.scalar(high, pa.uint64()))
        yield keep.read_table(refs, BAND, inside)


def _write_groups(writer: RowWriter, table: pa.Table) -> None:
    """Write sorted rows in groups small enough for a reader of a range to pass over most."""
    for start in range(0, table.num_rows, _ROW_GROUP):
        writer.add_table(table.slice(start, _ROW_GROUP))
