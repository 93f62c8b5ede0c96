"""A hardened local executor on datatrove's executor contract.

datatrove's own local executor waits for ever when a worker is killed (by the out-of-memory killer, say). This one sees
the death, repeats the tasks that were in flight one at a time, and reports by number a task that kills its worker
again.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import multiprocessing
import os
import pickle
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from typing import Any

from datatrove.executor.base import DistributedEnvVars, PipelineExecutor
from datatrove.pipeline.base import PipelineStep

from data_prep import failures, lock, store
from data_prep.failures import WorkerDied
from data_prep.stage import Stage, Task, TaskOutput, load_task_manifest

_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 5.0
_ATTEMPTS_ALONE = 2
_PR_SET_PDEATHSIG = 1


class StageStep(PipelineStep):  # type: ignore[misc]
    """A `Stage` as a datatrove pipeline step: rank r does task r."""

    type = "STAGE"

    def __init__(self, stage: Stage, tasks: Sequence[Task]) -> None:
        self.name = stage.name
        super().__init__()
        self.stage, self.tasks = stage, tasks

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Do task `rank`; its manifest is written last, or else the record of its failure.

        A task is left alone if it is complete: its worker may have been killed between that and saying so.
        """
        folder = self.stage.folder
        try:
            if load_task_manifest(self.stage, self.tasks[rank]) is None:
                with TaskOutput(self.stage, self.tasks[rank]) as out:
                    self.stage.run_task(self.tasks[rank], out)
        except Exception as error:
            failures.save(folder, rank, error)
            raise
        failures.forget(folder, rank)
        store.remove_file(self.stage.progress_path(rank))


class LocalExecutor(PipelineExecutor):  # type: ignore[misc]
    """Runs the given ranks of a stage in worker processes.

    Args:
        step: the stage to run.
        ranks: task numbers still to be done.
        workers: processes at a time.
        logging_dir: folder for datatrove's task logs.
        on_poll: called a few times a second with the number of ranks that ended, for progress.
        preload: modules that the server imports from which workers are forked; the first executor of a process decides.
    """

    def __init__(
        self,
        step: StageStep,
        ranks: Sequence[int],
        workers: int,
        logging_dir: str,
        on_poll: Callable[[int], None],
        preload: Sequence[str] = ("data_prep.chain",),
    ) -> None:
        # Manifests, not datatrove's empty marker files, say what is complete.
        super().__init__([step], logging_dir, skip_completed=False)
        self.ranks, self.workers, self._on_poll = list(ranks), workers, on_poll
        self._tasks, self._folder = len(step.tasks), step.stage.folder
        self._ended, self._preload = 0, preload
        self.failures: dict[int, Exception] = {}

    @property
    def world_size(self) -> int:
        """Number of tasks of the stage."""
        return self._tasks

    def get_distributed_env(self, node_rank: int = -1) -> DistributedEnvVars:
        """What datatrove hands to tasks; ours do not read it."""
        return DistributedEnvVars(
            datatrove_node_ips="localhost",
            datatrove_cpus_per_task="1",
            datatrove_mem_per_cpu="-1",
            datatrove_gpus_on_node="0",
            datatrove_executor="LOCAL",
        )

    def run(self) -> dict[int, Exception]:
        """Run all ranks; returns rank -> error of those that failed."""
        suspects = self._run_pool(self.ranks, self.workers)
        while suspects:
            # Some worker died. Whatever was in flight is repeated alone, so that the culprit shows itself;
            # what had not started yet goes back to the pool.
            in_flight, waiting = suspects
            for rank in in_flight:
                for attempt in range(_ATTEMPTS_ALONE):
                    if self._run_pool([rank], 1) is None:
                        break
                    if attempt == _ATTEMPTS_ALONE - 1:
                        how = f"was killed {_ATTEMPTS_ALONE} times when run alone (out of memory?)"
                        died = WorkerDied(rank, how)
                        failures.save(self._folder, rank, died)
                        self._end(rank, died)
            suspects = self._run_pool(waiting, self.workers)
        return self.failures

    def _run_pool(self, ranks: Iterable[int], workers: int) -> tuple[list[int], list[int]] | None:
        """Run ranks; None if no worker died, else (ranks that were in flight, ranks not yet started)."""
        queue = list(ranks)
        if not queue:
            return None
        # pyarrow imports pandas, where there is one, when it first makes an array: half a second in every worker.
        modules = ["pandas", *self._preload, *store.client_modules(self._folder)]
        pool = ProcessPoolExecutor(
            min(workers, len(queue)),
            mp_context=start_method(modules),
            initializer=_prepare_worker,
            initargs=(os.getpid(),),
        )
        running: dict[Future[None], int] = {}
        try:
            while queue or running:
                # No more is submitted than can run, so that "in flight" is exact.
                while queue and len(running) < workers:
                    rank = queue[0]
                    running[pool.submit(_run_rank, self, rank)] = rank
                    queue.pop(0)
                done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                if not done and _lost_one(pool):
                    raise BrokenProcessPool
                for future in done:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        raise error
                    self._end(running.pop(future), error if isinstance(error, Exception) else None)
                self._on_poll(self._ended)
        except BaseException as error:
            # Whatever stopped this, no worker goes on: not even one that is stopped and would not heed SIGTERM.
            for process in list((pool._processes or {}).values()):
                process.kill()
            if isinstance(error, BrokenProcessPool):
                return sorted(running.values()), queue
            raise
        finally:
            _close(pool)
        return None

    def _end(self, rank: int, error: Exception | None) -> None:
        self._ended += 1
        if error is not None:
            self.failures[rank] = error

    def __getstate__(self) -> dict[str, Any]:
        # Workers need the pipeline, not the caller's progress bar.
        return {**self.__dict__, "_on_poll": None, "failures": {}}


def _close(pool: ProcessPoolExecutor) -> None:
    """Wait until a pool's workers are gone.

    One that was killed as it waited for work leaves its fellows waiting for its lock, and a plain shutdown for them.
    """
    manager: Any = pool._executor_manager_thread
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    end = time.monotonic() + _PATIENCE_SECONDS
    alive = {process.sentinel: process for process in processes}
    while alive and time.monotonic() < end:
        for sentinel in connection.wait(list(alive), _POLL_SECONDS):
            del alive[sentinel]  # type: ignore[arg-type]
    for process in alive.values():
        process.kill()
    if manager is not None:
        manager.join()


def _lost_one(pool: ProcessPoolExecutor) -> bool:
    """Whether a worker has died. The pool itself watches those that it knew of when a task last began or ended."""
    with contextlib.suppress(OSError, ValueError):  # closed already: the pool has seen it
        return bool(connection.wait([process.sentinel for process in list((pool._processes or {}).values())], 0))
    return False


def _run_rank(executor: LocalExecutor, rank: int) -> None:
    try:
        # datatrove also logs to stderr; what failed is said once, by the parent, and stands in the task's log file.
        with contextlib.redirect_stderr(io.StringIO()):
            executor._run_for_rank(rank, local_rank=1)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            # The parent could not rebuild it, and would take that for the death of the worker.
            raise RuntimeError(failures.one_line(error)) from None
        raise


def start_method(preload: Sequence[str] = ("data_prep.chain",)) -> BaseContext:
    """Workers are forked from a small server that has imported the stages once: a new pool costs milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_prep.executor", *preload])
    return context


def _prepare_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end at once when the parent is gone (kill -9).

    A worker that outlives its parent would write beside those of the next run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The server that forked this process ends with the parent, if nobody else holds the pipe between them; the kernel
    # then needs nobody's cooperation: the thread below may have to wait for a library that holds the interpreter's
    # lock, or this process may be stopped.
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not Linux, or a Python that does this differently
        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(1)  # it is gone already, and what it last asked for is not to be done
    except (AttributeError, OSError):  # not Linux, or an old kernel
        handle = -1

    def watch() -> None:
        if handle >= 0:
            select.select([handle], [], [])
        else:
            while lock.is_alive(parent):
                time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
