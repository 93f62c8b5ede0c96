"""Stage addresses: archives -> the id of every page's address, and every recorded redirect."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urljoin

import pyarrow as pa
from pydantic import Field

from data_prep.configfile import Count, Settings
from data_prep.manifest import FileRef
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.urls import canonical_url, partition_of, url_id
from data_prep.warc import Response, byte_ranges, read_heads

ADDRESSES, REDIRECTS = "pages/", "redirects/"
ADDRESS = pa.schema([pa.field("page", pa.string(), nullable=False), pa.field("task", pa.int32(), nullable=False)])
"""`page`: id of a page's canonical URL; `task`: number of the range of an archive that holds it."""
REDIRECT = pa.schema(
    [
        pa.field("page", pa.string(), nullable=False),
        pa.field("date", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
    ]
)
"""`page`: id of the address that redirects; `date`: when it was seen, YYYYMMDDhhmmss; `target`: canonical URL."""


class AddressesSettings(Settings):
    """How archives are cut into tasks; see `PagesSettings`."""

    task_bytes: Count = Field(default=16 << 20, gt=0)


def archive_tasks(archives: Sequence[FileRef], task_bytes: int) -> list[Task]:
    """One task per range of an archive, the same for every stage that reads archives.

    Parameters of each: `start` and `end` (bytes of the file), `number` (of the task).
    """
    ranges = [(ref, *edges) for ref in archives for edges in byte_ranges(ref.path, ref.bytes, task_bytes)]
    return [
        Task(i, {"archives": [ref]}, {"start": start, "end": end, "number": i})
        for i, (ref, start, end) in enumerate(ranges)
    ]


def redirect_target(page: Response) -> str | None:
    """Canonical URL a page redirects to; None if it does not, or only to another spelling of its own address."""
    if not page.redirects:
        return None
    try:
        target = canonical_url(urljoin(page.url, page.location))
    except ValueError:  # brackets that hold no IPv6 address
        return None
    return target if target != canonical_url(page.url) else None


class AddressesStage(Stage):
    """Archives -> `pages/PPPPP-TTTTT.parquet` and `redirects/PPPPP-TTTTT.parquet`, by partition P of the id space.

    The only stage that checks every byte of the archives before anything is made of them. Holds in memory one record's
    headers and up to 1,024 rows per partition.

    Args:
        partitions: into how many ranges of the id space rows are divided.
    """

    name = "addresses"

    def __init__(
        self,
        folder: str,
        settings: AddressesSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        partitions: int,
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.rules = settings
        self.partitions = partitions

    def plan(self) -> list[Task]:
        """One task per range of an archive."""
        return [
            Task(task.index, task.inputs, {**task.params, "partitions": self.partitions})
            for task in archive_tasks(self.inputs["archives"], self.rules.task_bytes)
        ]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Read one range of an archive.

        Raises:
            CorruptFile: it is cut short or damaged.
        """
        archive = task.inputs["archives"][0]
        start, end = task.params["start"], task.params["end"]
        name = f"-{task.index:05d}.parquet"
        pages = [out.rows(f"{ADDRESSES}{p:05d}{name}", ADDRESS) for p in range(self.partitions)]
        redirects = [out.rows(f"{REDIRECTS}{p:05d}{name}", REDIRECT) for p in range(self.partitions)]
        for page in read_heads(archive.path, start, end):
            out.rows_in += 1
            out.advance(page.offset - start, end - start, "bytes")
            url = canonical_url(page.url)
            if url is None:
                out.skip("bad-url")
                continue
            out.rows_out += 1
            key = url_id(url)
            pages[partition_of(key, self.partitions)].add({"page": key, "task": task.params["number"]})
            target = redirect_target(page)
            if target is not None:
                out.extra["redirects"] += 1
                row = {"page": key, "date": page.date, "target": target}
                redirects[partition_of(key, self.partitions)].add(row)
