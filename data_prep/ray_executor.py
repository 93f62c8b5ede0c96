"""The stage's tasks on a Ray cluster, by datatrove's Ray executor.

Every task runs in a `LocalExecutor` of one worker on whichever node Ray chose: datatrove's Ray executor, too, waits
for ever when a process that works is killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor

from data_prep import store
from data_prep.errors import UserError
from data_prep.executor import LocalExecutor, StageStep, WorkerDied

FAILURES = "failures"
_POLL_SECONDS = 0.5


def connect() -> int:
    """Join the cluster that RAY_ADDRESS names, else start one on this machine; returns its number of cores.

    Raises:
        UserError: Ray is not installed, or there is no cluster at that address.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("Ray is not installed", where="--executor ray", fix="run `pip install -e '.[ray]'`")
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default; else it warns
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError) as error:
            address = os.environ.get("RAY_ADDRESS", "")
            raise UserError(
                f"no Ray cluster answers ({error})",
                where=f"RAY_ADDRESS={address}",
                fix="start it, or unset the variable",
            ) from None
    return int(ray.cluster_resources()["CPU"])


class RayExecutor:
    """Runs the given ranks of a stage on the cluster.

    The stage's folder must be one that all nodes see.

    Args:
        step: the stage to run.
        ranks: task numbers still to be done.
        workers: tasks at a time.
        logging_dir: folder for datatrove's logs.
        on_poll: called a few times a second with the number of ranks that ended, for progress.
    """

    def __init__(
        self, step: StageStep, ranks: Sequence[int], workers: int, logging_dir: str, on_poll: Callable[[int], None]
    ) -> None:
        self._step = _RemainingTasks(step, ranks, logging_dir)
        self._workers, self._on_poll = workers, on_poll

    def run(self) -> dict[int, Exception]:
        """Run all ranks; returns rank -> error of those that failed."""
        connect()
        step = self._step
        for rank in step.ranks:
            # What stands there is of an earlier run, or the rank would not be asked for.
            store.remove(step.failure_path(rank))
            store.remove(step.manifest_path(rank))
        with _silent_datatrove(), self._polling():
            # Manifests, not datatrove's marker files, say what is complete. Memory is not reserved: Ray would wait for
            # ever for a node that has as much.
            RayPipelineExecutor(
                [step],
                tasks=len(step.ranks),
                workers=min(self._workers, len(step.ranks)),
                skip_completed=False,
                logging_dir=store.join(step.logging_dir, "ray"),
                mem_per_cpu_gb=0,
            ).run()
        return {rank: error for rank in step.ranks if (error := step.outcome(rank)) is not None}

    @contextlib.contextmanager
    def _polling(self) -> Iterator[None]:
        stop = threading.Event()

        def poll() -> None:
            while not stop.wait(_POLL_SECONDS):
                self._on_poll(sum(self._step.has_ended(rank) for rank in self._step.ranks))

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class _RemainingTasks(StageStep):
    """Ray's rank r does the r-th of the tasks still to be done, in a process whose death is seen."""

    def __init__(self, step: StageStep, ranks: Sequence[int], logging_dir: str) -> None:
        super().__init__(step.stage, step.tasks)
        self.ranks, self.logging_dir = list(ranks), logging_dir

    def manifest_path(self, rank: int) -> str:
        """Where a complete task says so."""
        return self.stage.manifest_path(self.tasks[rank])

    def failure_path(self, rank: int) -> str:
        """Where a task that failed says why: Ray hands no errors back."""
        return store.join(self.logging_dir, FAILURES, f"{rank:05d}.json")

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Do one task."""
        task, parent = self.ranks[rank], os.getppid()

        def on_poll(ended: int) -> None:
            if os.getppid() != parent:  # Ray gave this task up, and may have started it elsewhere
                os._exit(1)

        step = StageStep(self.stage, self.tasks)
        failures = LocalExecutor(step, [task], 1, self.logging_dir, on_poll).run()
        if task in failures:
            store.write_json(self.failure_path(task), _to_json(failures[task]))

    def has_ended(self, rank: int) -> bool:
        """Whether a task is complete or has failed."""
        return store.exists(self.manifest_path(rank)) or store.exists(self.failure_path(rank))

    def outcome(self, rank: int) -> Exception | None:
        """The error of a task that did not complete."""
        path = self.failure_path(rank)
        if store.exists(path):
            return _from_json(store.read_json(path), rank)
        if store.exists(self.manifest_path(rank)):
            return None
        return UserError(
            f"Ray lost task {rank}", where=f"stage {self.name}", fix="look at Ray's own logs; run again to continue"
        )


def _to_json(error: Exception) -> dict[str, Any]:
    if isinstance(error, UserError):
        return {"user": {"what": error.what, "where": error.where, "fix": error.fix}}
    return {"died": isinstance(error, WorkerDied), "error": repr(error)}


def _from_json(data: dict[str, Any], rank: int) -> Exception:
    if "user" in data:
        return UserError(data["user"]["what"], where=data["user"]["where"], fix=data["user"]["fix"])
    return WorkerDied(rank) if data["died"] else RuntimeError(data["error"])


@contextlib.contextmanager
def _silent_datatrove() -> Iterator[None]:
    """Its lines would stand between those of the progress bar."""
    from loguru import logger

    logger.disable("datatrove")
    try:
        yield
    finally:
        logger.enable("datatrove")
