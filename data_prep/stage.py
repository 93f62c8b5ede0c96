"""The Stage contract: a deterministic map from input files to output files over tasks fixed before it starts.

A stage says how its work is cut into tasks (`plan`) and what one task does (`run_task`). Everything a task
writes goes through `TaskOutput`, which makes files appear whole or not at all, counts, logs every removal, and writes
the task's manifest last. `data_prep.runner` decides what is still to be done and runs it.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any, ClassVar, Self

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import __version__, store
from data_prep.configfile import Settings, resolved
from data_prep.documents import REMOVED
from data_prep.errors import full_disk
from data_prep.manifest import FileRef, TaskManifest, Totals

MANIFESTS = "tasks"
PROGRESS = "progress"
REMOVED_PREFIX = "removed/"
_ROW_GROUP_ROWS = 1024
_ROW_GROUP_BYTES = 16 << 20
_HEARTBEAT_SECONDS = 0.5


@dataclass(frozen=True)
class Task:
    """One unit of work.

    Attributes:
        index: position in the plan, 0-based.
        inputs: label -> files this task reads.
        params: small JSON-able facts that tell this task from its siblings (for example a partition number).
    """

    index: int
    inputs: Mapping[str, Sequence[FileRef]]
    params: Mapping[str, Any]


class Stage(ABC):
    """A deterministic map over tasks, or with one task a short global step.

    Args:
        folder: where the stage writes.
        settings: the stage's own settings; their digest is part of the plan.
        inputs: label -> all files of that input, in order.
        upstream: label -> digest of what made that input.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    """Raised whenever the code starts to write other bytes for the same input."""
    is_filter: ClassVar[bool] = False
    """Whether the share of rows kept is worth an alarm."""

    def __init__(
        self,
        folder: str,
        settings: Settings,
        inputs: Mapping[str, Sequence[FileRef]],
        upstream: Mapping[str, str],
    ) -> None:
        self.folder, self.settings = folder, settings
        self.inputs, self.upstream = dict(inputs), dict(upstream)

    @abstractmethod
    def plan(self) -> list[Task]:
        """The tasks. Their number must not depend on the number of workers."""

    @abstractmethod
    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Do one task: the same bytes out for the same task, in any order, on any machine."""

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """After all tasks: write what only the whole stage knows (through `store`), return small results to show.

        Called on every run, also when nothing was left to do: cheap, and the same bytes each time. `outputs` carry full
        paths.
        """
        return {}

    def one_task_per_file(self, label: str, shared: Sequence[str] = ()) -> list[Task]:
        """A plan with a task for each file of one input; every task sees the `shared` inputs whole."""
        common = {name: self.inputs[name] for name in shared}
        return [Task(i, {label: [ref], **common}, {}) for i, ref in enumerate(self.inputs[label])]

    def one_task_per_partition(self, label: str, partitions: int) -> list[Task]:
        """A plan with a task for each partition `p`, reading the files `.../PPPPP-...` of one input."""
        tasks = []
        for p in range(partitions):
            mine = [ref for ref in self.inputs[label] if posixpath.basename(ref.path).startswith(f"{p:05d}-")]
            tasks.append(Task(p, {label: mine}, {"partition": p}))
        return tasks

    @property
    def code(self) -> str:
        """Version of the code that decides the bytes."""
        return f"{__version__}+{self.name}.{self.revision}"

    def plan_entry(self, task: Task) -> str:
        """Digest of all that decides a task's output: settings, code version, content of its inputs."""
        return store.digest(
            {
                "stage": self.name,
                "code": self.code,
                "settings": resolved(self.settings),
                "inputs": {label: [ref.sha256 for ref in refs] for label, refs in task.inputs.items()},
                "params": dict(task.params),
            }
        )

    def manifest_path(self, task: Task) -> str:
        """Where the task's manifest is written."""
        return store.join(self.folder, MANIFESTS, f"{task.index:05d}.json")

    def progress_path(self, index: int) -> str:
        """Where the task says how far it is."""
        return store.join(self.folder, PROGRESS, f"{index:05d}.json")


class RowWriter:
    """Rows into one Parquet file, a bounded number of them in memory.

    Args:
        handle: the open binary file.
        schema: Arrow schema of the rows.
    """

    def __init__(self, handle: IO[bytes], schema: pa.Schema) -> None:
        self._parquet = pq.ParquetWriter(handle, schema, compression="zstd")
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0
        self.rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self._rows.append(row)
        self._bytes += len(row.get("text", ""))
        self.rows += 1
        if len(self._rows) >= _ROW_GROUP_ROWS or self._bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def add_table(self, table: pa.Table) -> None:
        """Append a table of the same schema as a row group of its own."""
        self._flush()
        self._parquet.write_table(table.cast(self._schema))
        self.rows += table.num_rows

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows, self._bytes = [], 0

    def close(self) -> None:
        """Write what is pending and the footer."""
        self._flush()
        self._parquet.close()

    def abandon(self) -> None:
        """Forget what is pending: the file will not be kept."""
        self._rows = []
        self._parquet.is_open = False  # or it would write its footer when it is collected, into a closed file


class TaskOutput:
    """Everything one task writes. Use as a context manager; nothing is visible unless the block succeeds.

    Attributes:
        rows_in: rows read so far, set by the task.
        rows_out: rows written so far, set by the task.
        extra: further named counts.
    """

    def __init__(self, stage: Stage, task: Task) -> None:
        self._stage, self._task = stage, task
        self.rows_in = self.rows_out = 0
        self.extra: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._open: dict[str, tuple[IO[bytes], RowWriter | None]] = {}
        self._removed: RowWriter | None = None
        self._start = time.monotonic()
        self._last_heartbeat = 0.0

    def __enter__(self) -> Self:
        # A log of removals exists for every task, so that "nothing removed" is a statement.
        with self._whole_or_nothing():
            self._removed = self.rows(f"{REMOVED_PREFIX}{self._task.index:05d}.parquet", REMOVED)
        return self

    def file(self, name: str) -> IO[bytes]:
        """A new binary file `name` in the stage's folder."""
        path = store.join(self._stage.folder, name)
        # What goes to an object store waits in a local file without a name until the task succeeds.
        local = store.is_local(path)
        handle = store.create(store.local(path + store.TMP_SUFFIX)) if local else tempfile.TemporaryFile()  # noqa: SIM115
        self._open[name] = (handle, None)
        return handle

    def rows(self, name: str, schema: pa.Schema) -> RowWriter:
        """A new Parquet file `name` in the stage's folder."""
        handle = self.file(name)
        writer = RowWriter(handle, schema)
        self._open[name] = (handle, writer)
        return writer

    def drop(
        self, reason: str, *, id: str, url: str, score: float | None = None, detail: str = "", rows: int = 1
    ) -> None:
        """Log and count a removed document."""
        assert self._removed is not None
        self._dropped[reason] += rows
        self._removed.add(
            {
                "id": id,
                "url": url,
                "stage": self._stage.name,
                "reason": reason,
                "score": score,
                "detail": detail,
            }
        )

    def skip(self, reason: str, rows: int = 1) -> None:
        """Count rows that were never documents (a self post, a broken line), without a log row each."""
        self._dropped[reason] += rows

    def advance(self, done: float, total: float, unit: str) -> None:
        """Tell how far the task is; cheap enough to call for every row."""
        now = time.monotonic()
        if now - self._last_heartbeat < _HEARTBEAT_SECONDS:
            return
        self._last_heartbeat = now
        # A heartbeat may be lost or torn by a crash: it is no proof of anything.
        path = self._stage.progress_path(self._task.index)
        body = store.canonical_json({"done": done, "total": total, "unit": unit, "seconds": now - self._start})
        if store.is_local(path):
            store.local(path).parent.mkdir(parents=True, exist_ok=True)
            store.local(path).write_bytes(body)
        else:
            fs, inner = store.filesystem(path)
            fs.pipe_file(inner, body)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._whole_or_nothing():
            if error is not None:
                raise error
            self._commit()

    @contextlib.contextmanager
    def _whole_or_nothing(self) -> Iterator[None]:
        """Drop what is half-written on any error; a full disk gives its one clear line."""
        try:
            yield
        except BaseException as error:
            self._abandon()
            clear = full_disk(error, self._stage.folder) if isinstance(error, OSError) else None
            if clear is not None:
                raise clear from None
            raise

    def _abandon(self) -> None:
        for name, (handle, writer) in self._open.items():
            if writer is not None:
                writer.abandon()
            with contextlib.suppress(OSError):  # on a full disk the buffered rest does not fit either
                handle.close()
            path = store.join(self._stage.folder, name)
            if store.is_local(path):
                store.local(path + store.TMP_SUFFIX).unlink(missing_ok=True)
        self._open.clear()

    def _commit(self) -> None:
        for handle, writer in self._open.values():
            if writer is not None:
                writer.close()
            handle.flush()
            os.fsync(handle.fileno())
        outputs = []
        for name, (handle, writer) in self._open.items():
            path = store.join(self._stage.folder, name)
            if store.is_local(path):
                handle.close()
                target = store.local(path)
                target.with_name(target.name + store.TMP_SUFFIX).replace(target)
                store.fsync_dir(target.parent)
            else:
                handle.seek(0)
                store.upload(handle, path)
                handle.close()
            ref = FileRef.of(path, writer.rows if writer is not None else None)
            outputs.append(FileRef(name, ref.sha256, ref.bytes, ref.rows))
        totals = Totals.sum([Totals(self.rows_in, self.rows_out, dict(self._dropped), dict(self.extra))])
        manifest = TaskManifest(self._stage.plan_entry(self._task), totals, tuple(outputs))
        store.write_json(self._stage.manifest_path(self._task), manifest.to_json())


def load_task_manifest(stage: Stage, task: Task) -> TaskManifest | None:
    """The manifest of a complete task, or None.

    A task counts as complete only if its manifest answers the present plan entry and every output file has the
    recorded bytes.
    """
    path = stage.manifest_path(task)
    if not store.exists(path):
        return None
    try:
        manifest = TaskManifest.from_json(store.read_json(path), path)
    except Exception:
        return None
    if manifest.plan != stage.plan_entry(task):
        return None
    if not all(ref.under(stage.folder).is_intact() for ref in manifest.outputs):
        return None
    return manifest


def plan_json(stage: Stage, tasks: Sequence[Task]) -> dict[str, Any]:
    """The plan as it is stored beside the results: what will be read by which task."""
    return {
        "stage": stage.name,
        "code": stage.code,
        "settings": resolved(stage.settings),
        "upstream": stage.upstream,
        "tasks": [
            {
                "index": task.index,
                "digest": stage.plan_entry(task),
                "params": dict(task.params),
                "inputs": {label: [asdict(ref) for ref in refs] for label, refs in task.inputs.items()},
            }
            for task in tasks
        ],
    }
