"""Exact dedup in four short stages: keys -> one row per URL -> duplicate texts -> filter.

First each URL keeps one of its captures, then each text one of its URLs; in this order a text is never lost because its
best copy was an older capture of another page. Two texts are equal if they are so in normal form: runs of white space
(Unicode) are one space, none at the ends; case, punctuation and characters count as they are. Keys are 128-bit xxh3:
among 10^9 documents two different texts share one with probability 1.5e-21.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import Field

from data_prep.configfile import Settings
from data_prep.dedup import keep
from data_prep.parquet import read_batches
from data_prep.stage import Stage, Task, TaskOutput

KEY = keep.MEMBER.append(pa.field("key", pa.binary(16), nullable=False))
"""A document without its text, and the key of its text."""
SAME_URL, SAME_TEXT = "same-url", "same-text"


class PartitionSettings(Settings):
    """How many partitions a shuffle has: part of the data's layout, not the number of workers."""

    partitions: int = Field(default=8, gt=0, le=4096)


class NoSettings(Settings):
    """Nothing to choose."""


def text_key(text: str) -> bytes:
    """xxh3-128 of the normal form of a text, 16 bytes."""
    return xxhash.xxh3_128_digest(" ".join(text.split()).encode())


def _partition(keys: pa.ChunkedArray, partitions: int) -> npt.NDArray[np.uint64]:
    """[rows] partition of each key (strings or bytes), by its hash."""
    hashes = [xxhash.xxh3_64_intdigest(key) for key in keys.cast(pa.binary()).to_pylist()]
    return np.array(hashes, np.uint64) % np.uint64(partitions)


class ExactKeysStage(Stage):
    """Documents to keys, partitioned by id. Memory: the keys of one file (about 200 bytes a document)."""

    name = "exact-keys"
    settings: PartitionSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents")

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Hash every text of one file."""
        (source,) = task.inputs["documents"]
        tables = [KEY.empty_table()]
        for batch in read_batches(source.path, keep.TEXT_ROWS, [*keep.MEMBER_COLUMNS, "text"]):
            keys = pa.array([text_key(text) for text in batch.column("text").to_pylist()], pa.binary(16))
            tables.append(keep.members(batch, task.index, out.rows_in).append_column(KEY.field("key"), [keys]))
            out.rows_in += batch.num_rows
            out.advance(out.rows_in, source.rows or out.rows_in, "documents")
        table = pa.concat_tables(tables)
        keep.write_partitions(out, table, _partition(table.column("id"), self.settings.partitions), task.index)
        out.rows_out = table.num_rows


class ExactUrlsStage(Stage):
    """Keys of one id partition to the captures to remove (`lost/`) and the other keys, partitioned by text (`keys/`).

    Memory: the keys of one partition.
    """

    name = "exact-urls"
    revision = 2
    settings: PartitionSettings

    def plan(self) -> list[Task]:
        """One task for each partition."""
        return self.one_task_per_partition("keys", self.settings.partitions)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Keep one capture of each URL."""
        table = keep.read_table(task.inputs["keys"], KEY)
        kept, lost, instead = keep.split_group(table, "id")
        out.rows(f"lost/part-{task.index:05d}.parquet", keep.LOST).add_table(keep.lost_table(lost, instead))
        partition = _partition(kept.column("key"), self.settings.partitions)
        keep.write_partitions(out, kept, partition, task.index, "keys/")
        out.rows_in, out.rows_out = table.num_rows, kept.num_rows


class ExactDuplicatesStage(Stage):
    """Keys of one text partition to the documents to remove. Memory: the keys of one partition."""

    name = "exact-duplicates"
    revision = 2
    settings: PartitionSettings

    def plan(self) -> list[Task]:
        """One task for each partition."""
        return self.one_task_per_partition("keys", self.settings.partitions)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Keep one document of each text."""
        table = keep.read_table(task.inputs["keys"], KEY)
        kept, lost, instead = keep.split_group(table, "key")
        out.rows(f"part-{task.index:05d}.parquet", keep.LOST).add_table(keep.lost_table(lost, instead))
        out.rows_in, out.rows_out = table.num_rows, kept.num_rows


class ExactDedupStage(Stage):
    """Documents without those that the two stages before call lost. Memory: the lost rows of one file."""

    name = "exact-dedup"
    revision = 2

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=[SAME_URL, SAME_TEXT])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Copy what stays."""
        keep.remove_lost(task, out, [SAME_URL, SAME_TEXT])
