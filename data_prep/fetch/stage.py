"""The stage `fetch`: queues of links -> WARC files with the pages and the redirects that led to them.

The one stage that is not deterministic: the web answers differently each time. Therefore

- what was fetched is never fetched again, nor deleted, by the program itself: a finished task is skipped, also by a
  later release and under other manners (`FetchSettings`); where other links or another `ContentSettings` would call
  for it, the stage stops and says so;
- a task that was interrupted goes on where it was: a kill loses only requests in flight (`data_prep.fetch.journal`);
- every link ends as exactly one of fetched, revisit (the payload is that of an earlier page), or dropped with a reason.

Memory of a task: 4,096 links, `concurrency` bodies of at most `max_bytes`, 32 MiB of robots.txt files (their parsed
form is a few times that), one byte a link of the task; nothing else grows.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from data_prep import __version__, store
from data_prep.errors import CorruptFile, UserError
from data_prep.fetch.link import FETCHED, REVISIT, Link
from data_prep.fetch.queues import read_queue
from data_prep.fetch.settings import FetchSettings
from data_prep.manifest import FileRef, Totals
from data_prep.runner import PLAN_FILE
from data_prep.stage import MANIFESTS, Stage, Task, TaskOutput

if TYPE_CHECKING:
    from data_prep.fetch.journal import Journal

WARC = "warc/"
_WORK = "work"


class FetchStage(Stage):
    """Queues of links -> `warc/TTTTT-SSSSS.warc.gz`, one task per queue.

    The work of unfinished tasks lies in `work/` beside the results, or where these go to an object store, in a folder
    of this user under the system's folder for temporary files (TMPDIR).

    A redirect to a domain of another task keeps that domain's rate within this task only: where many links lead to one
    shortener's target, its rate may be passed by as many times as tasks run at once.

    Args:
        partitions: number of queues.
    """

    name = "fetch"

    def __init__(
        self,
        folder: str,
        settings: FetchSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        partitions: int,
    ) -> None:
        # The plan, which decides whether all is made anew, holds the content of the queues, but not the digest of
        # their stage, which also changes with each release.
        super().__init__(folder, settings.content(), inputs, {})
        self.rules = settings
        self.partitions = partitions

    @property
    def code(self) -> str:
        """Without the version of the release: a new one must not fetch the web again."""
        return f"{self.name}.{self.revision}"

    def plan(self) -> list[Task]:
        """One task per queue.

        Raises:
            UserError: the folder holds pages that were fetched under another plan.
        """
        tasks = self.one_task_per_partition("queues", self.partitions)
        self._refuse_to_discard(tasks)
        return tasks

    def _refuse_to_discard(self, tasks: Sequence[Task]) -> None:
        path = store.join(self.folder, PLAN_FILE)
        if not store.exists(path) or not (
            store.exists(store.join(self.folder, MANIFESTS)) or any(self._work().glob("*"))
        ):
            return
        try:
            old = [task["digest"] for task in store.read_json(path)["tasks"]]
        except (CorruptFile, KeyError, TypeError):
            old = []
        if old != [self.plan_entry(task) for task in tasks]:
            raise UserError(
                "holds pages that were fetched for other links or under other content settings",
                where=self.folder,
                fix="move the folder away (its warc/ files can be given as inputs.archives) or delete it",
            )

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Fetch one queue, or the rest of it.

        Raises:
            UserError: nothing can be reached any more, or the disk is full; what was fetched is kept.
        """
        # Here, because every worker process imports the stages, and few of them need an HTTP client.
        from data_prep.fetch.crawl import Crawl
        from data_prep.fetch.guard import Guard
        from data_prep.fetch.journal import Journal

        self._tidy()
        files = list(task.inputs["queues"])
        total = sum(_rows(ref) for ref in files)
        with Journal(self._work() / f"{task.index:05d}", self._about()) as journal:
            guard = Guard(self.rules.refused_networks, self.rules.unsafe_test_hosts)
            crawl = Crawl(self.rules, guard, journal, lambda ended: out.advance(ended, total, "links"))
            asyncio.run(crawl.run(_links(files), total))
            self._settle(task, journal, out)

    def _settle(self, task: Task, journal: Journal, out: TaskOutput) -> None:
        """Turn a finished journal into the task's outputs."""
        for link in journal.finished():
            out.rows_in += 1
            if link.outcome in (FETCHED, REVISIT):
                out.rows_out += 1
                out.extra[link.outcome] += 1
                out.extra["redirects"] += link.redirects
            else:
                out.drop(link.outcome, id=link.id, url=link.url, detail=link.detail)
        for number, segment in enumerate(journal.segments()):
            target = out.file(f"{WARC}{task.index:05d}-{number:05d}.warc.gz")
            with segment.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
            out.extra["warc-bytes"] += segment.stat().st_size

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Clear the work folders, which nothing needs any more."""
        shutil.rmtree(self._work(), ignore_errors=True)
        return {}

    def _tidy(self) -> None:
        """Clear the work of siblings that are complete, so that their pages do not take the space twice."""
        for work in self._work().glob("[0-9]*"):
            if store.exists(store.join(self.folder, MANIFESTS, f"{work.name}.json")):
                shutil.rmtree(work, ignore_errors=True)

    def _work(self) -> Path:
        if store.is_local(self.folder):
            return store.local(self.folder) / _WORK
        mine = Path(tempfile.gettempdir()) / f"data-prep-{os.getuid()}"
        mine.mkdir(mode=0o700, exist_ok=True)
        if mine.stat().st_uid != os.getuid():
            raise UserError("belongs to another user", where=str(mine), fix="set TMPDIR to a folder of yours")
        return mine / store.digest(self.folder)[:16]

    def _about(self) -> dict[str, str]:
        return {
            "software": f"data-prep {__version__}",
            "format": "WARC file version 1.1",
            "robots": "classic",
            "http-header-user-agent": self.rules.user_agent,
        }


def _rows(ref: FileRef) -> int:
    if ref.rows is not None:
        return ref.rows
    with store.open_read(ref.path) as handle:
        return int(pq.ParquetFile(handle).metadata.num_rows)


def _links(files: Sequence[FileRef]) -> Iterator[Link]:
    for number, row in enumerate(read_queue(files)):
        yield Link(number, row["id"], row["url"], row["posted_url"])
