"""Clusters of near-duplicates by one task, and what of them is to be removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.dedup import keep, numbers
from data_prep.dedup.components import clusters
from data_prep.dedup.near import EDGE
from data_prep.dedup.settings import ClustersSettings
from data_prep.dedup.shingles import Numbers
from data_prep.errors import UserError
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput

CLUSTERED = keep.MEMBER.append(pa.field("cluster", pa.int64(), nullable=False))
"""A document and the number of its cluster."""


class NearClustersStage(Stage):
    """All edges to the documents to remove, in one task.

    Those with a twin in the corpus go to `part-`, those with one in another corpus to `against-`. Memory: some 80 bytes
    an edge, 200 a document that has one, and the members of one file.
    """

    name = "near-clusters"
    revision = 2
    settings: ClustersSettings

    def plan(self) -> list[Task]:
        """One task."""
        return [Task(0, {label: self.inputs[label] for label in ("edges", "members")}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Keep one document of each cluster.

        Raises:
            UserError: there are more edges than one task is allowed.
        """
        count = sum(ref.rows or 0 for ref in task.inputs["edges"])
        if count > self.settings.one_node_edges:
            raise UserError(
                f"{count:,} edges between near-duplicates, more than the {self.settings.one_node_edges:,} of one task",
                where="near_dedup.one_node_edges",
                fix="set near_dedup.star_rounds=8, or raise the number: an edge takes about 80 bytes of memory",
            )
        joined = keep.read_table(task.inputs["edges"], EDGE)
        left, right = joined.column("left").to_numpy(), joined.column("right").to_numpy()
        nodes, cluster = clusters(left, right)
        parts = [CLUSTERED.empty_table()]
        for number, ref in enumerate(task.inputs["members"]):
            parts.append(with_cluster(keep.read_table([ref], keep.MEMBER), nodes, cluster))
            out.advance(number + 1, len(task.inputs["members"]), "files")
        kept = write_lost(out, task, pa.concat_tables(parts), joined)
        out.rows_in, out.rows_out = len(nodes), kept
        sizes = np.unique(cluster, return_counts=True)[1]
        out.extra.update(edges=joined.num_rows, clusters=len(sizes), largest_cluster=int(sizes.max(initial=0)))

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Number and size of clusters."""
        return dict(totals.extra)


def with_cluster(members: pa.Table, nodes: Numbers, cluster: Numbers) -> pa.Table:
    """Those of the members that are nodes, as `CLUSTERED`.

    Args:
        members: `MEMBER` rows.
        nodes: [n] sorted numbers of documents.
        cluster: [n] cluster of each.
    """
    number = numbers.of_members(members)
    at = np.searchsorted(nodes, number)
    inside = np.flatnonzero(at < len(nodes))
    found = inside[nodes[at[inside]] == number[inside]]
    return members.take(found).append_column(CLUSTERED.field("cluster"), [cluster[at[found]]])


def write_lost(out: TaskOutput, task: Task, members: pa.Table, joined: pa.Table) -> int:
    """Keep one document of each cluster and write the others; those of other corpora all stay.

    Args:
        members: `CLUSTERED` rows, whole clusters.
        joined: `EDGE` rows in which the similarity of a document and its twin is looked up.

    Returns:
        How many documents stay.
    """
    other = pc.greater_equal(members.column("file"), numbers.OTHER_CORPORA).cast(pa.int8())
    _, lost, kept = keep.split_group(members.append_column("other", other), "cluster", first="other")
    removable = pc.equal(lost.column("other"), 0)
    lost, kept = lost.filter(removable), kept.filter(removable)
    table = keep.lost_table(lost, kept, _similarity(numbers.of_members(lost), numbers.of_members(kept), joined))
    elsewhere = pc.equal(kept.column("other"), 1)
    for prefix, chosen in (("part", pc.invert(elsewhere)), ("against", elsewhere)):
        out.rows(f"{prefix}-{task.index:05d}.parquet", keep.LOST).add_table(table.filter(chosen))
    stay: int = members.num_rows - lost.num_rows
    return stay


def _similarity(one: Numbers, other: Numbers, joined: pa.Table) -> npt.NDArray[np.float64]:
    """[n] exact Jaccard similarity of each pair if it is an edge that was compared, else NaN."""
    found = np.full(len(one), np.nan)
    if joined.num_rows and len(one):
        table = joined.sort_by([("left", "ascending"), ("right", "ascending")])
        left, right = table.column("left").to_numpy(), table.column("right").to_numpy()
        value = table.column("jaccard").to_numpy()
        low, high = np.minimum(one, other), np.maximum(one, other)
        # Both sides as one sortable key: the rank of the left document, then the right one.
        starts, ends = np.searchsorted(left, low), np.searchsorted(left, low, side="right")
        for i in np.flatnonzero(ends > starts).tolist():
            at = starts[i] + np.searchsorted(right[starts[i] : ends[i]], high[i])
            if at < ends[i] and right[at] == high[i]:
                found[i] = value[at]
    return found
