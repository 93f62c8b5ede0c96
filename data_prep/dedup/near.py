"""Near dedup in four stages: signatures -> edges -> clusters -> filter.

Documents that share a band of their MinHash signature are joined; of every connected cluster one stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from data_prep.configfile import Settings
from data_prep.dedup import keep
from data_prep.dedup.bands import Numbers, band_keys, edges
from data_prep.dedup.components import clusters
from data_prep.dedup.exact import PartitionSettings
from data_prep.dedup.minhash import MinHash, shingles
from data_prep.documents import read_rows
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput

BAND = pa.schema([pa.field("key", pa.uint64(), nullable=False), pa.field("document", pa.int64(), nullable=False)])
"""Band key of a document, which is numbered file * 2^32 + row."""
EDGE = pa.schema([pa.field("left", pa.int64(), nullable=False), pa.field("right", pa.int64(), nullable=False)])
NEAR_DUPLICATE = "near-duplicate"
_FILE_SHIFT = 32


class NearDedupSettings(Settings):
    """Which documents count as near-duplicates."""

    ngram: int = Field(default=5, gt=0, le=64)
    """Words in a shingle."""
    bands: int = Field(default=14, gt=0)
    """Sharing one band is enough."""
    rows: int = Field(default=8, gt=0)
    """Hash functions in a band, all of which must agree."""
    seed: int = 0
    """Of the hash functions."""


class SignatureSettings(NearDedupSettings, PartitionSettings):
    """What decides the bands and where they go."""


class NearSignaturesStage(Stage):
    """Documents to band keys, partitioned by key (`bands/`), and what the keep rule needs (`members/`).

    A document without a word has no near-duplicates. Memory: 16 bytes a band and 200 bytes a document of one file, and
    some 60 bytes for each byte of the longest text.
    """

    name = "near-signatures"
    settings: SignatureSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents")

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Sign every document of one file."""
        (source,) = task.inputs["documents"]
        settings = self.settings
        minhash = MinHash(settings.bands * settings.rows, settings.seed)
        members, keys, numbers = [], [], []
        for number, document in enumerate(read_rows(source.path, ["id", "url", "text", "score", "created_utc"])):
            out.rows_in += 1
            hashes = shingles(document["text"], settings.ngram)
            if len(hashes):
                members.append(keep.member(document, task.index, number))
                keys.append(band_keys(minhash.signature(hashes), settings.bands))
                numbers.append((task.index << _FILE_SHIFT) + number)
            out.advance(out.rows_in, source.rows or out.rows_in, "documents")
        key = np.array(keys, np.uint64).reshape(-1)
        table = pa.table([key, np.repeat(np.array(numbers, np.int64), settings.bands)], schema=BAND)
        keep.write_partitions(out, table, key % np.uint64(settings.partitions), task.index, "bands/")
        out.rows(f"members/part-{task.index:05d}.parquet", keep.MEMBER).add_table(
            pa.Table.from_pylist(members, schema=keep.MEMBER)
        )
        out.rows_out = len(members)


class NearEdgesStage(Stage):
    """Band keys of one partition to edges between documents. Memory: some 60 bytes a band key of one partition."""

    name = "near-edges"
    settings: PartitionSettings

    def plan(self) -> list[Task]:
        """One task for each partition."""
        return self.one_task_per_partition("bands", self.settings.partitions)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Join what shares a key."""
        table = keep.read_table(task.inputs["bands"], BAND)
        left, right = edges(table.column("key").to_numpy(), table.column("document").to_numpy())
        out.rows(f"part-{task.index:05d}.parquet", EDGE).add_table(pa.table([left, right], schema=EDGE))
        out.rows_in, out.rows_out = table.num_rows, len(left)


class NearClustersStage(Stage):
    """All edges to the documents to remove, in one task. Memory: some 60 bytes an edge, 200 a document that has one."""

    name = "near-clusters"

    def plan(self) -> list[Task]:
        """One task."""
        return [Task(0, {label: self.inputs[label] for label in ("edges", "members")}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Keep one document of each cluster."""
        joined = keep.read_table(task.inputs["edges"], EDGE)
        nodes, cluster = clusters(joined.column("left").to_numpy(), joined.column("right").to_numpy())
        parts = [keep.MEMBER.append(pa.field("cluster", pa.int64())).empty_table()]
        for number, ref in enumerate(task.inputs["members"]):
            parts.append(_members_with_cluster(keep.read_table([ref], keep.MEMBER), nodes, cluster))
            out.advance(number + 1, len(task.inputs["members"]), "files")
        kept, lost = keep.split_group(pa.concat_tables(parts), "cluster")
        out.rows("part-00000.parquet", keep.LOST).add_table(lost)
        out.rows_in, out.rows_out = len(nodes), kept.num_rows
        sizes = np.unique(cluster, return_counts=True)[1]
        out.extra.update(edges=joined.num_rows, clusters=len(sizes), largest_cluster=int(sizes.max(initial=0)))

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Number and size of clusters."""
        return dict(totals.extra)


class NearDedupStage(Stage):
    """Documents without those that the clusters call lost. Memory: the lost rows of one file."""

    name = "near-dedup"

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=[NEAR_DUPLICATE])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Copy what stays."""
        keep.remove_lost(task, out, [NEAR_DUPLICATE])


def _members_with_cluster(members: pa.Table, nodes: Numbers, cluster: Numbers) -> pa.Table:
    """The members that are nodes, each with its cluster."""
    number = (members.column("file").to_numpy().astype(np.int64) << _FILE_SHIFT) + members.column("row").to_numpy()
    at = np.searchsorted(nodes, number)
    inside = np.flatnonzero(at < len(nodes))
    found = inside[nodes[at[inside]] == number[inside]]
    return members.take(found).append_column("cluster", pa.array(cluster[at[found]], pa.int64()))
