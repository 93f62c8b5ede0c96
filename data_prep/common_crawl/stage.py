"""Stage common-crawl: links in the order of the index -> the records of their captures, as WARC files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from data_prep.common_crawl.capture import Capture
from data_prep.common_crawl.index import open_indexes
from data_prep.common_crawl.keys import key_ranges, read_range
from data_prep.common_crawl.lookup import Search, look_up
from data_prep.common_crawl.ranges import Ranges
from data_prep.common_crawl.records import DamagedRecord, checked_record, first_record
from data_prep.common_crawl.settings import CommonCrawlSettings
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput

WARC = "warc/"
_MAX_RECORD = 64 << 20


class CommonCrawlStage(Stage):
    """Links sorted by key -> `warc/TTTTT.warc.gz`, one task per range of keys.

    A link without a page is logged with its reason: `not-in-index` (it has no capture, or redirects to what has none),
    `not-200`, `not-text`, `redirect-loop`, `too-large` (a record over 64 MiB), `damaged-record` (what the index points
    to is not the record it names). Lines of the index that cannot be read are passed over, counted and told.

    Holds in memory the links of one task with the captures chosen for them, two blocks of each index and as many
    records as `connections`.
    """

    name = "common-crawl"

    def __init__(
        self, folder: str, settings: CommonCrawlSettings, inputs: dict[str, list[FileRef]], upstream: dict[str, str]
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.rules = settings

    def plan(self) -> list[Task]:
        """One task per range of keys with about `task_links` links."""
        keys = self.inputs["keys"]
        ranges = key_ranges(keys, self.rules.task_links)
        return [Task(i, {"keys": keys}, {"from": start, "until": end}) for i, (start, end) in enumerate(ranges)]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Look up and fetch the links of one range of keys.

        Raises:
            UserError: an index or archive is not there or cannot be read.
            CorruptFile: an index is damaged or not sorted.
        """
        ranges = Ranges(self.rules.retries)

        def damaged(line: str) -> None:
            out.extra["damaged-index-lines"] += 1

        indexes = [index for path in self.rules.index for index in open_indexes(path, ranges, damaged)]
        before = self.rules.before
        limit = None if before is None else int(datetime(before.year, before.month, before.day, tzinfo=UTC).timestamp())
        links = read_range(task.inputs["keys"], task.params["from"], task.params["until"]).to_pylist()
        searches = look_up(links, indexes, limit)
        name = f"{WARC}{task.index:05d}.warc.gz"
        archive = out.file(name)
        archive.write(first_record(name))
        wanted = dict.fromkeys(capture for search in searches if search.found for capture in search.chain)
        failed: dict[Capture, tuple[str, str]] = {}
        for number, (capture, record) in enumerate(self._fetched(list(wanted), ranges)):
            out.advance(number, len(wanted), "captures")
            if isinstance(record, bytes):
                archive.write(record)
                out.extra["records"] += 1
            else:
                failed[capture] = record
        for search in searches:
            _account(search, failed, out)

    def _fetched(
        self, captures: Sequence[Capture], ranges: Ranges
    ) -> Iterator[tuple[Capture, bytes | tuple[str, str]]]:
        """Each capture with its record, or with reason and detail of why there is none; in order."""

        def fetch(capture: Capture) -> bytes | tuple[str, str]:
            if capture.length > _MAX_RECORD:
                return "too-large", f"{capture.length} bytes"
            # Names in an index are relative to the collection, and `data` may end without a slash.
            path = f"{self.rules.data.rstrip('/')}/{capture.filename.lstrip('/')}"
            try:
                return checked_record(ranges.read(path, capture.offset, capture.length), capture)
            except DamagedRecord as error:
                return "damaged-record", f"{path}, byte {capture.offset:,}: {error}"

        with ThreadPoolExecutor(self.rules.connections) as pool:
            for start in range(0, len(captures), self.rules.connections):
                some = captures[start : start + self.rules.connections]
                yield from zip(some, pool.map(fetch, some), strict=True)

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Say what looks like a wrong index."""
        lines = totals.extra.get("damaged-index-lines", 0)
        if totals.rows_in and not totals.rows_out:
            return {"warning": f"none of {totals.rows_in:,} links was found: check common_crawl.index and .data"}
        return {"warning": f"{lines:,} lines of the index could not be read and were passed over"} if lines else {}


def _account(search: Search, failed: Mapping[Capture, tuple[str, str]], out: TaskOutput) -> None:
    """Count one link, and log why it has no page."""
    out.rows_in += 1
    problem = (
        next((failed[capture] for capture in search.chain if capture in failed), None)
        if search.found
        else search.missed
    )
    if problem is None:
        out.rows_out += 1
        return
    reason, detail = problem
    out.drop(reason, id=search.link["id"], url=search.link["url"], detail=detail)
