"""What a task has finished, kept so that a kill loses only the pages in flight.

A folder holds WARC segments, which only grow, and one SQLite file that says which links are finished and how far each
segment counts. A batch of links is appended to the segment, brought to the disk, and then committed in one transaction:
whatever a segment holds beyond what the database says was cut off by a kill, and is cut off for good when the folder is
opened again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from data_prep.errors import CorruptFile
from data_prep.fetch.fetcher import Outcome
from data_prep.fetch.link import FETCHED, REVISIT, Finished, Link
from data_prep.fetch.records import RecordWriter

SEGMENT_BYTES = 1 << 30
"""After so many bytes a new WARC file begins (community: Common Crawl, Internet Archive)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS done (
    number INTEGER PRIMARY KEY, outcome TEXT, id TEXT, url TEXT, detail TEXT, seconds REAL, redirects INTEGER);
CREATE TABLE IF NOT EXISTS payload (digest TEXT PRIMARY KEY, uri TEXT, date TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segment (number INTEGER PRIMARY KEY, bytes INTEGER);
"""


class Journal:
    """The work folder of one task. Use as a context manager; for one process, and one thread at a time.

    Args:
        folder: a local folder, made if it is not there.
        about: what each segment's first record says of the crawl.

    Raises:
        CorruptFile: the folder's files do not fit each other.
    """

    def __init__(self, folder: Path, about: dict[str, str]) -> None:
        self._folder, self._about = folder, about
        folder.mkdir(parents=True, exist_ok=True)
        # No file locks: one process owns a task, and some cluster file systems do not have them.
        self._base = sqlite3.connect(
            f"{(folder / 'journal.sqlite').absolute().as_uri()}?vfs=unix-none",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(_SCHEMA)
            self._number, self._handle = self._open_last()
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()
        self._base.close()

    def _open_last(self) -> tuple[int, IO[bytes]]:
        """Cut the segments to what counts; the last one is gone on with."""
        counted: dict[int, int] = dict(self._base.execute("SELECT number, bytes FROM segment"))
        for number, size in counted.items():
            path = self._segment(number)
            if not path.exists() or path.stat().st_size < size:
                raise self._damaged(f"{path.name} is shorter than its {size:,} bytes")
        for path in self._folder.glob("*.warc.gz"):
            number = int(path.name.partition(".")[0])
            if number in counted:
                os.truncate(path, counted[number])
            else:
                path.unlink()
        number = max(counted, default=0)
        if counted.get(number, 0) >= SEGMENT_BYTES:
            number += 1
        return number, self._segment(number).open("ab")

    def _damaged(self, what: str) -> CorruptFile:
        return CorruptFile(
            f"the record of what has been fetched is damaged ({what})",
            where=str(self._folder),
            fix="delete this folder to fetch the task's links again",
        )

    def _segment(self, number: int) -> Path:
        return self._folder / f"{number:05d}.warc.gz"

    def finished_numbers(self) -> Iterator[int]:
        """Numbers of the links that have ended."""
        for (number,) in self._base.execute("SELECT number FROM done"):
            yield number

    def finished(self) -> Iterator[Finished]:
        """All links that have ended, by number."""
        for row in self._base.execute("SELECT * FROM done ORDER BY number"):
            yield Finished(*row)

    def segments(self) -> list[Path]:
        """The WARC files that hold pages, in order."""
        self._handle.flush()
        return [self._segment(n) for (n,) in self._base.execute("SELECT number FROM segment ORDER BY number")]

    def commit(self, batch: Sequence[tuple[Link, Outcome]]) -> None:
        """Write some outcomes; when this returns they survive a kill and a loss of power.

        Raises:
            OSError: the disk is full.
        """
        self._base.execute("BEGIN")
        try:
            rows = [self._write(link, outcome) for link, outcome in batch]
            self._handle.flush()
            os.fsync(self._handle.fileno())
            if size := self._handle.tell():
                self._base.execute("INSERT OR REPLACE INTO segment VALUES (?, ?)", (self._number, size))
            self._base.executemany("INSERT INTO done VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise
        if self._handle.tell() >= SEGMENT_BYTES:
            self._handle.close()
            self._number += 1
            self._handle = self._segment(self._number).open("ab")

    def _write(self, link: Link, outcome: Outcome) -> tuple[object, ...]:
        """Append the records of a link; its row."""
        seconds = round(outcome.seconds, 3)
        if outcome.failure is not None:
            kind, detail = outcome.failure.reason, outcome.failure.detail
            return (link.number, kind, link.id, link.url, detail, seconds, 0)
        writer = RecordWriter(self._handle)
        if self._handle.tell() == 0:
            writer.about(self._about)
        *hops, (url, page) = outcome.hops
        for hop_url, hop in hops:
            writer.response(hop_url, hop)
        digest = page.digest
        known = self._base.execute("SELECT uri, date FROM payload WHERE digest = ?", (digest,)).fetchone()
        if known is None:
            date = writer.response(url, page)
            self._base.execute("INSERT INTO payload VALUES (?, ?, ?)", (digest, url, date))
        else:
            writer.revisit(url, page, *known)
        return (link.number, FETCHED if known is None else REVISIT, link.id, link.url, "", seconds, len(hops))
