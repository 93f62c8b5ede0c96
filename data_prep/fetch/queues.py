"""Links -> the queues of the fetch tasks: all links of a registered domain in the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import store
from data_prep.dedup.exact import PartitionSettings
from data_prep.errors import CorruptFile
from data_prep.manifest import FileRef
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.urls import host_of, partition_of, registered_domain, url_id

QUEUED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("posted_url", pa.string(), nullable=False),
    ]
)
"""A link to fetch; as in `links.LINK`."""


class FetchQueuesStage(Stage):
    """Links -> queues, one task per file of links.

    Writes `PPPPP-TTTTT.parquet`: the links of file T whose registered domain falls into queue P, in the order of
    their ids. A domain is one task's alone, so that its rate holds whatever runs beside it.
    """

    name = "fetch-queues"

    def __init__(
        self,
        folder: str,
        settings: PartitionSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.partitions = settings.partitions

    def plan(self) -> list[Task]:
        """One task per file of links."""
        return self.one_task_per_file("links")

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Deal out one file."""
        writers = [out.rows(f"{p:05d}-{task.index:05d}.parquet", QUEUED) for p in range(self.partitions)]
        for row in read_queue(task.inputs["links"]):
            domain = registered_domain(host_of(row["url"]))
            writers[partition_of(url_id(domain), self.partitions)].add(row)
            out.rows_in += 1
            out.rows_out += 1


def read_queue(files: Sequence[FileRef]) -> Iterator[dict[str, str]]:
    """Rows of QUEUED from files of links or queues, a thousand in memory at a time.

    Raises:
        CorruptFile: a file is no Parquet file with these columns.
    """
    for ref in files:
        try:
            with store.open_read(ref.path) as handle:
                for batch in pq.ParquetFile(handle).iter_batches(batch_size=1024, columns=QUEUED.names):
                    yield from batch.to_pylist()
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            raise CorruptFile(
                f"cannot be read as Parquet ({error})", where=ref.path, fix="delete it and run its stage again"
            ) from None
