"""Clusters of near-duplicates by many tasks: spread edges -> star operations in turn -> clusters -> what to remove.

Edges are spread over partitions by the files of their documents. Memory of every task: some 80 bytes an edge of one
partition; the last two stages also hold 200 bytes a document of one file, and of the clusters of one partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from data_prep.dedup import keep, numbers
from data_prep.dedup.clusters import CLUSTERED, with_cluster, write_lost
from data_prep.dedup.exact import PartitionSettings
from data_prep.dedup.near import EDGE, edge_table, file_of_members
from data_prep.dedup.shingles import Numbers
from data_prep.dedup.stars import large_star, small_star, stars
from data_prep.errors import UserError
from data_prep.manifest import FileRef
from data_prep.stage import Stage, Task, TaskOutput

SPREAD = "edges/"
PARTITIONED = "members/"


def star_name(number: int) -> str:
    """Name of the stage of one operation; 0 spreads the edges."""
    return f"near-star-{number:02d}"


class StarSpreadStage(Stage):
    """Edges to the partitions of both their documents."""

    name = star_name(0)
    settings: PartitionSettings

    def plan(self) -> list[Task]:
        """One task for each file of edges."""
        return self.one_task_per_file("edges")

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Spread one file."""
        table = keep.read_table(task.inputs["edges"], EDGE)
        left, right = table.column("left").to_numpy(), table.column("right").to_numpy()
        _spread(out, task, left, right, self.settings.partitions, both=True)
        out.rows_in = out.rows_out = len(left)


class StarSettings(PartitionSettings):
    """Which operation it is, numbered from 1."""

    number: int


class StarStage(Stage):
    """One operation on the edges of one partition: large-star if its number is odd, else small-star."""

    name = "near-star"
    settings: StarSettings

    def __init__(
        self,
        folder: str,
        settings: StarSettings,
        inputs: Mapping[str, Sequence[FileRef]],
        upstream: Mapping[str, str],
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.name = star_name(settings.number)  # type: ignore[misc]  # one class, a stage for each number

    def plan(self) -> list[Task]:
        """One task for each partition."""
        return self.one_task_per_partition("edges", self.settings.partitions)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Make new edges of those of one partition."""
        partitions, is_large = self.settings.partitions, self.settings.number % 2 == 1
        node, neighbour = _around(task, partitions)
        if is_large:
            left, right = large_star(node, neighbour)
        else:
            down = neighbour < node
            left, right = small_star(node[down], neighbour[down])
        # After a large-star, small-star asks for edges at their larger ends alone.
        _spread(out, task, left, right, partitions, both=not is_large)
        out.rows_in, out.rows_out = len(node), len(left)


class StarClustersStage(Stage):
    """Stars to the members of clusters, partitioned by cluster (`members/`)."""

    name = "near-members"
    settings: PartitionSettings

    def plan(self) -> list[Task]:
        """One task for each partition, with the members of its files."""
        partitions = self.settings.partitions
        members: list[list[FileRef]] = [[] for _ in range(partitions)]
        for ref in self.inputs["members"]:
            members[file_of_members(ref.path) % partitions].append(ref)
        tasks = self.one_task_per_partition("edges", partitions)
        return [Task(task.index, {**task.inputs, "members": members[task.index]}, task.params) for task in tasks]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Find the members of one partition.

        Raises:
            UserError: the edges are not yet stars.
        """
        partitions = self.settings.partitions
        node, neighbour = _around(task, partitions)
        found = stars(node, neighbour)
        if found is None:
            raise UserError(
                "the clusters of near-duplicates are not complete after these rounds of large-star and small-star",
                where="near_dedup.star_rounds",
                fix="raise it; what is done is kept",
            )
        nodes, cluster = found
        parts = [CLUSTERED.empty_table()]
        for ref in task.inputs["members"]:
            parts.append(with_cluster(keep.read_table([ref], keep.MEMBER), nodes, cluster))
        table = pa.concat_tables(parts)
        to = numbers.files(table.column("cluster").to_numpy()) % partitions
        keep.write_partitions(out, table, to, task.index, PARTITIONED)
        out.rows_in, out.rows_out = len(nodes), table.num_rows


class StarLostStage(Stage):
    """Clusters of one partition to the documents to remove; similarities are not looked up."""

    name = "near-lost"
    settings: PartitionSettings

    def plan(self) -> list[Task]:
        """One task for each partition."""
        return self.one_task_per_partition("members", self.settings.partitions)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Keep one document of each cluster."""
        members = keep.read_table(task.inputs["members"], CLUSTERED)
        out.rows_in = members.num_rows
        out.rows_out = write_lost(out, task, members, EDGE.empty_table())


def _around(task: Task, partitions: int) -> tuple[Numbers, Numbers]:
    """Edges as seen from those of their documents that belong to the task's partition."""
    table = keep.read_table(task.inputs["edges"], EDGE)
    left, right = table.column("left").to_numpy(), table.column("right").to_numpy()
    node, neighbour = np.concatenate([left, right]), np.concatenate([right, left])
    mine = numbers.files(node) % partitions == task.params["partition"]
    return node[mine], neighbour[mine]


def _spread(out: TaskOutput, task: Task, left: Numbers, right: Numbers, partitions: int, both: bool) -> None:
    """Write edges to the partitions of their larger documents, or of both."""
    table = edge_table(left, right)
    to_right = numbers.files(right) % partitions
    if both:
        to_left = numbers.files(left) % partitions
        other = to_left != to_right  # an edge within a partition goes there once
        table = pa.concat_tables([table, table.filter(pa.array(other))])
        to_right = np.concatenate([to_right, to_left[other]])
    keep.write_partitions(out, table, to_right, task.index, SPREAD)
