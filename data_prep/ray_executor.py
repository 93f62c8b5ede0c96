"""The stage's tasks on a Ray cluster, by datatrove's Ray executor.

Every task runs in a `LocalExecutor` of one worker on whichever node Ray chose: datatrove's Ray executor, too, waits
for ever when a process that works is killed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor

from data_prep import store
from data_prep.errors import UserError
from data_prep.executor import StageStep
from data_prep.remote_step import RemoteStep, ended

_POLL_SECONDS = 0.5


def connect() -> int:
    """Join the cluster that RAY_ADDRESS names, else start one on this machine; returns its number of cores.

    Raises:
        UserError: Ray is not installed, or there is no cluster at that address.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("Ray is not installed", where="--executor ray", fix="run `pip install -e '.[ray]'`")
    ray: Any = importlib.import_module("ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default; else it warns
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
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
        step.prepare(step.ranks)
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
        return {rank: error for rank in step.ranks if (error := self._outcome(rank)) is not None}

    def _outcome(self, rank: int) -> Exception | None:
        try:
            return self._step.outcome(rank)
        except KeyError:
            return UserError(
                f"Ray lost task {rank}",
                where=f"stage {self._step.name}",
                fix="look at Ray's own logs; run again to continue",
            )

    @contextlib.contextmanager
    def _polling(self) -> Iterator[None]:
        stop, ranks = threading.Event(), set(self._step.ranks)

        def poll() -> None:
            while not stop.wait(_POLL_SECONDS):
                self._on_poll(len(ended(self._step.stage) & ranks))

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class _RemainingTasks(RemoteStep):
    """Ray's rank r does the r-th of the tasks still to be done."""

    def __init__(self, step: StageStep, ranks: Sequence[int], logging_dir: str) -> None:
        super().__init__(step, logging_dir)
        self.ranks = list(ranks)

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Do one task; an error that left here would stop all of Ray's work."""
        self.guarded(self.ranks[rank])


@contextlib.contextmanager
def _silent_datatrove() -> Iterator[None]:
    """Its lines would stand between those of the progress bar."""
    from loguru import logger

    logger.disable("datatrove")
    try:
        yield
    finally:
        logger.enable("datatrove")
