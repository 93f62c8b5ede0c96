"""Stage 1, submissions: Pushshift dumps -> rows that may become links, partitioned by URL id.

Which URLs have enough karma is decided in `data_prep.links`, where all submissions of a URL come together. Under the
rules `any` and `max` a submission below `min_karma` has no say in that, so it goes here, counted as `low-karma`; most
submissions of a full dump are such.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.dumps import DumpReader, byte_ranges
from data_prep.errors import UserError
from data_prep.links import LinksSettings
from data_prep.lists import load_domains, load_list
from data_prep.manifest import FileRef
from data_prep.reddit import SUBMISSION, Row, RowRules, RowSettings, SubmissionsSettings
from data_prep.stage import RowWriter, Stage, Task, TaskOutput
from data_prep.urls import partitions_of

_ROWS_HELD = 1 << 15
_ROWS_HELD_PER_PARTITION = 256
_ROWS_PACKED = 1 << 11


def row_settings(settings: LinksSettings) -> RowSettings:
    """The settings that decide on single submissions, lists written out.

    Raises:
        UserError: a list cannot be read.
    """
    own = {name: getattr(settings, name) for name in SubmissionsSettings.model_fields}
    own |= {
        "exclude_domains": load_domains(settings.exclude_domains),
        "exclude_subreddits": load_list(settings.exclude_subreddits),
        "include_subreddits": load_list(settings.include_subreddits),
    }
    return RowSettings(**own, least_score=None if settings.karma == "sum" else settings.min_karma)


class SubmissionsStage(Stage):
    """Dumps -> candidate submissions, one task per dump file or, where a large file can be cut, per range of it.

    Writes `PPPPP-TTTTT.parquet` for each partition P of the id space and each task T. The reasons for which a
    submission gives no row are those of `RowRules`; a self post or one with too little karma is recognised in the
    bytes of its line (`data_prep.line_scan`), whose other fields are then not looked at.

    Holds in memory the decompressor's window and the buffer of `DumpReader`, and 256 rows per partition, at least
    32,768, of about 0.5 KB.

    Args:
        partitions: into how many ranges of the id space rows are divided.
    """

    name = "submissions"
    revision = 2

    def __init__(
        self,
        folder: str,
        settings: LinksSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        partitions: int,
    ) -> None:
        # Karma rules that make no difference here must not make this stage run again.
        self.rules = row_settings(settings)
        super().__init__(folder, self.rules, inputs, upstream)
        self.partitions = partitions

    def plan(self) -> list[Task]:
        """One task per range of a dump."""
        ranges = [
            (ref, start, end)
            for ref in self.inputs["dumps"]
            for start, end in byte_ranges(ref.path, ref.bytes, self.rules.task_bytes)
        ]
        return [
            Task(i, {"dumps": [ref]}, {"partitions": self.partitions, "start": start, "end": end})
            for i, (ref, start, end) in enumerate(ranges)
        ]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Read one range of a dump.

        Raises:
            CorruptFile: the file is cut short or damaged; names the byte.
            UserError: not one line is a submission.
        """
        # Imports a compiler: half a second that only those who read dumps should pay.
        from data_prep.line_scan import LineScan

        path, start, end = task.inputs["dumps"][0].path, task.params["start"], task.params["end"]
        sink = _Partitioned([out.rows(f"{p:05d}-{task.index:05d}.parquet", SUBMISSION) for p in range(self.partitions)])
        decide = RowRules(self.rules)
        scan = LineScan(self.rules.least_score)
        skipped: Counter[str] = Counter()
        with DumpReader(path, start, end) as dump:
            for block in dump.blocks():
                found = scan(block)
                out.rows_in += found.lines
                skipped["self-post"] += found.self_posts
                skipped["low-karma"] += found.low_karma
                for first, last in zip(found.starts, found.ends, strict=True):
                    row = decide(block[first:last])
                    if isinstance(row, str):
                        skipped[row] += 1
                    else:
                        sink.rows.append(row)
                sink.flush_if_full()
                out.advance(dump.bytes_read, dump.bytes_total, "bytes")
            sink.flush()
        out.rows_out = sink.written
        for reason, count in skipped.items():
            if count:
                out.skip(reason, count)
        # A range in the middle of a file may have no line of its own.
        if skipped["not-json"] == out.rows_in and (out.rows_in or dump.is_whole):
            raise UserError(
                f"none of its {out.rows_in:,} lines is JSON" if out.rows_in else "holds no line at all",
                where=path,
                fix="give Pushshift submissions (RS_*), one JSON object a line",
            )


class _Partitioned:
    """Rows into one file per range of the id space, many rows at a time.

    When is decided by the number of rows alone, and so the bytes of the files.
    """

    def __init__(self, writers: list[RowWriter]) -> None:
        self._writers = writers
        self._most = max(_ROWS_HELD, _ROWS_HELD_PER_PARTITION * len(writers))
        self._packed: list[tuple[pa.Table, NDArray[np.int64]]] = []
        self._held = 0
        self.rows: list[Row] = []
        self.written = 0

    def flush_if_full(self) -> None:
        """Call from time to time."""
        while len(self.rows) >= _ROWS_PACKED:
            self._pack(_ROWS_PACKED)
            if self._held >= self._most:
                self._write()

    def flush(self) -> None:
        """Call at the end."""
        self.flush_if_full()
        if self.rows:
            self._pack(len(self.rows))
        if self._packed:
            self._write()

    def _pack(self, count: int) -> None:
        """Python objects -> Arrow, while they are in the processor's cache."""
        columns = list(zip(*self.rows[:count], strict=True))
        arrays = [pa.array(values, field.type) for values, field in zip(columns, SUBMISSION, strict=True)]
        partitions = partitions_of(columns[0], len(self._writers))
        self._packed.append((pa.table(arrays, schema=SUBMISSION), partitions))
        self._held += count
        del self.rows[:count]

    def _write(self) -> None:
        """One row group for each partition that has rows; rows keep their order."""
        table = pa.concat_tables([rows for rows, _ in self._packed])
        partitions = np.concatenate([numbers for _, numbers in self._packed])
        order = np.argsort(partitions, kind="stable")
        table = table.take(pa.array(order))
        bounds = np.searchsorted(partitions[order], np.arange(len(self._writers) + 1))
        for writer, first, last in zip(self._writers, bounds[:-1], bounds[1:], strict=True):
            if last > first:
                writer.add_table(table.slice(int(first), int(last - first)))
        self.written += self._held
        self._packed, self._held = [], 0
