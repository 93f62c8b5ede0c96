"""The stage's tasks as Slurm job arrays, by datatrove's Slurm executor.

The process that was started waits, and submits each stage when the one before is complete: the plan of a stage is made
from what the one before wrote, so its jobs cannot be submitted earlier. That process does little and may be killed.
The jobs go on; started again, it finds them by the name that they carry (stage, folder and plan), waits for them, and
submits only what is still missing. It may itself be a batch job.

Taken from datatrove: the job script, the pickled step that its array tasks run, arrays split at MaxArraySize and
chained by dependencies so that a limit on tasks at a time holds for all of them. Not taken: its marker files (manifests
say what is complete) and its job that merges statistics (which waits for ever once a task has failed).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor
from pydantic import Field

from data_prep import failures, store
from data_prep.configfile import Settings, SlurmTime
from data_prep.errors import CorruptFile, UserError
from data_prep.executor import StageStep
from data_prep.failures import WorkerDied
from data_prep.remote_step import RemoteStep, ended
from data_prep.stage import Stage, load_task_manifest

MARKER = "slurm.json"
_POLL_SECONDS = 2.0
_SETTLE_SECONDS = 6.0
"""How long files of a job that has ended may need to show up here, on a network file system."""
_SILENCE_SECONDS = 600.0
_SUBMISSIONS = 2
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
_ENDED |= {"BOOT_FAIL", "DEADLINE", "PREEMPTED", "REVOKED"}
_DEFAULT_MAX_ARRAY = 1001


class SlurmSettings(Settings):
    """What each task asks of Slurm.

    Attributes:
        partition: null for the cluster's default.
        account: null for the user's default.
        time: wall-clock limit of a task, in Slurm's form.
        cpus: cores of a task.
        mem: memory of a task, in Slurm's form.
        sbatch: further options of sbatch, name -> value ("" for an option without one).
    """

    partition: str | None = None
    account: str | None = None
    time: SlurmTime = "24:00:00"
    cpus: int = Field(default=1, gt=0)
    mem: str = "8G"
    sbatch: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """An element of a job array, as squeue shows it."""

    array: str
    index: int
    state: str
    reason: str

    @property
    def has_ended(self) -> bool:
        """Whether it will do no more."""
        return self.state in _ENDED


def connect() -> int:
    """The cluster's MaxArraySize: one more than the largest index of an array.

    Raises:
        UserError: Slurm is not installed, or does not answer.
    """
    if shutil.which("sbatch") is None or shutil.which("scontrol") is None:
        raise UserError("Slurm is not installed here", where="--executor slurm", fix="run it on a login node")
    asked = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise UserError(
            f"Slurm does not answer ({asked.stderr.strip()})", where="--executor slurm", fix="look at `scontrol ping`"
        )
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", asked.stdout, re.MULTILINE)
    return int(found[1]) if found and int(found[1]) else _DEFAULT_MAX_ARRAY


def jobs_named(name: str) -> list[Job] | None:
    """The array elements of this user's jobs of a name that Slurm still knows; None if it does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", f"--name={name}", "--format=%F|%K|%T|%r"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        return None
    fields = [line.strip().split("|", 3) for line in asked.stdout.splitlines() if line.count("|") >= 3]
    return [Job(array, int(index), state, why) for array, index, state, why in fields if index.isdigit()]


def job_name(stage: Stage, plan: Sequence[str]) -> str:
    """A name that only jobs of this stage, folder and plan carry.

    Args:
        stage: the stage.
        plan: the digests of its plan's entries.
    """
    folder = str(store.local(stage.folder).resolve()) if store.is_local(stage.folder) else stage.folder
    return f"data-prep-{stage.name}-{store.digest([folder, list(plan)])[:12]}"


def refuse_other_jobs(stage: Stage, name: str | None) -> None:
    """Make sure that no Slurm job of an earlier run still works on this stage.

    Args:
        stage: the stage that is to be run.
        name: jobs of this name are no obstacle.

    Raises:
        UserError: there is such a job.
    """
    path = store.join(stage.folder, MARKER)
    try:
        other = store.read_json(path)["job_name"]
    except (FileNotFoundError, CorruptFile, KeyError, TypeError):
        return
    if other == name or shutil.which("squeue") is None:
        return
    jobs = jobs_named(other)
    if jobs is None:
        raise UserError(
            "Slurm jobs may still work on this stage, but Slurm does not answer",
            where=path,
            fix="look at `scontrol ping`",
        )
    active = [job for job in jobs if not job.has_ended]
    if active:
        raise UserError(
            f"{len(active)} Slurm tasks of an earlier run, with another plan or executor, still work on this stage",
            where=stage.folder,
            fix=f"wait for them, or `scancel --name={other}`, then run again",
        )
    store.remove(path)


class SlurmExecutor:
    """Runs the given ranks of a stage on a Slurm cluster.

    The stage's folder, the working directory and this Python environment must be the same on all nodes.

    Args:
        step: the stage to run.
        ranks: task numbers still to be done.
        workers: tasks at a time; 0 leaves that to Slurm.
        logging_dir: folder for datatrove's logs; Slurm's own go to `slurm/slurm_logs` in it.
        on_poll: called every few seconds with the number of ranks that ended, for progress.
        settings: what a task asks for.
        name: the jobs' name, from `job_name`.
    """

    def __init__(
        self,
        step: StageStep,
        ranks: Sequence[int],
        workers: int,
        logging_dir: str,
        on_poll: Callable[[int], None],
        *,
        settings: SlurmSettings,
        name: str,
    ) -> None:
        self._step, self._ranks, self._workers = _ArrayStep(step, logging_dir), list(ranks), workers
        self._on_poll, self._settings, self._name = on_poll, settings, name
        self._folder = store.join(logging_dir, "slurm")
        self._marker = store.join(step.stage.folder, MARKER)
        self._said = ""

    def run(self) -> dict[int, Exception]:
        """Run all ranks; returns rank -> error of those that failed.

        Raises:
            UserError: sbatch refuses the jobs, or Slurm no longer answers.
        """
        try:
            return self._run()
        except KeyboardInterrupt:
            print(f"the jobs go on; `scancel --name={self._name}` ends them", file=sys.stderr, flush=True)
            raise

    def _run(self) -> dict[int, Exception]:
        stage, step = self._step.stage, self._step
        if re.search(r"\s", stage.folder):
            raise UserError("a path with white space cannot stand in a job script", where=stage.folder, fix="move it")
        todo = self._ranks
        if store.exists(self._marker):
            self._wait([])
            todo = [rank for rank in todo if load_task_manifest(stage, step.tasks[rank]) is None]
        store.write_json(self._marker, {"job_name": self._name})
        failed: dict[int, Exception] = {}
        for _ in range(_SUBMISSIONS):
            if todo:
                todo = self._round(todo, failed)
        store.remove(self._marker)
        return failed

    def _round(self, ranks: list[int], failed: dict[int, Exception]) -> list[int]:
        """Submit some ranks and wait; adds to `failed`, returns the ranks whose jobs ended without an outcome."""
        size = connect()
        self._step.prepare(ranks)
        arrays = self._submit(ranks, size)
        jobs = {
            ranks[size * arrays.index(job.array) + job.index]: job
            for job in self._wait(arrays)
            if job.array in arrays and size * arrays.index(job.array) + job.index < len(ranks)
        }
        lost = []
        for rank in ranks:
            failed.pop(rank, None)
            try:
                error = self._step.outcome(rank)
            except KeyError:
                state = jobs[rank].state if rank in jobs else "unknown to Slurm"
                error = WorkerDied(rank, f"ended without a result: its Slurm job is {state}")
                failures.save(self._step.stage.folder, rank, error, log=store.join(self._folder, "slurm_logs"))
                if state != "CANCELLED":
                    lost.append(rank)
            if error is not None:
                failed[rank] = error
        return lost

    def _submit(self, ranks: list[int], max_array_size: int) -> list[str]:
        """Submit arrays that run some ranks; returns their job ids in order."""
        arrays: list[str] = []
        executor = _Arrays(self._step, ranks, self._settings, self._workers, max_array_size, self._name, self._folder)
        executor.job_id_retriever = _Collect(arrays)
        printed: list[str] = []
        try:
            with _outside_of_jobs(), _stderr_lines(printed):
                executor.launch_job()
        except subprocess.CalledProcessError:
            reasons = [line.removeprefix("sbatch: error: ") for line in printed if line.startswith("sbatch: ")]
            raise UserError(
                f"sbatch refuses the jobs: {'; '.join(reasons)}",
                where=f"stage {self._step.name}",
                fix="change the section `slurm:` of the config",
            ) from None
        return arrays

    def _wait(self, arrays: list[str]) -> list[Job]:
        """Wait until the tasks of these arrays (if none: of all of the name) have ended; returns their last states."""
        silent_since: float | None = None
        idle_since: float | None = None
        ranks = set(self._ranks)
        while True:
            over = ended(self._step.stage) & ranks
            self._on_poll(len(over))
            now = time.monotonic()
            jobs = jobs_named(self._name)
            if jobs is None:
                silent_since = silent_since or now
                if now - silent_since > _SILENCE_SECONDS:
                    raise UserError(
                        "Slurm no longer answers",
                        where=f"stage {self._step.name}",
                        fix="look at `scontrol ping`; run again to continue",
                    )
            else:
                silent_since = None
                mine = [job for job in jobs if not arrays or job.array in arrays]
                if all(job.has_ended for job in mine):
                    idle_since = idle_since or now
                    settled = over >= ranks or now - idle_since > _SETTLE_SECONDS
                    if settled or not (mine or arrays):
                        return mine
                else:
                    idle_since = None
                    self._tell_why_nothing_runs(mine)
            time.sleep(_POLL_SECONDS)

    def _tell_why_nothing_runs(self, jobs: list[Job]) -> None:
        active = [job for job in jobs if not job.has_ended]
        reasons = sorted({job.reason for job in active} - {"None"})  # none yet: Slurm has not looked at it
        tasks = f"{len(active)} tasks wait" if len(active) > 1 else "1 task waits"
        line = f"{tasks} in Slurm's queue: {', '.join(reasons)}"
        waiting = all(job.state == "PENDING" for job in active)
        if waiting and reasons and line != self._said:
            self._said = line
            print(f"  {self._step.name}: {line}", file=sys.stderr, flush=True)


class _ArrayStep(RemoteStep):
    """Rank r does task r; a task that fails makes its job fail, so that Slurm's own tools show it, too."""

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        error = self.guarded(rank)
        if error is not None:
            raise error


class _Collect:
    """Reads the job id from what sbatch prints, and keeps it."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids

    def __call__(self, printed: str) -> str:
        self.ids.append(printed.split()[-1])
        return self.ids[-1]


class _Arrays(SlurmPipelineExecutor):  # type: ignore[misc]
    """datatrove's executor for the ranks that it is told, without the jobs and files that nobody reads."""

    def __init__(
        self,
        step: RemoteStep,
        ranks: list[int],
        settings: SlurmSettings,
        workers: int,
        max_array_size: int,
        name: str,
        folder: str,
    ) -> None:
        optional = {"partition": settings.partition, "account": settings.account}
        chosen = {"mem": settings.mem, **{key: value for key, value in optional.items() if value is not None}}
        super().__init__(
            [step],
            tasks=len(step.tasks),
            time=settings.time,
            partition="",
            cpus_per_task=settings.cpus,
            workers=workers or -1,
            job_name=name,
            qos="",
            env_command=f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            sbatch_args={**chosen, **settings.sbatch},
            max_array_size=max_array_size,
            max_array_launch_parallel=not workers,
            logging_dir=folder,
            skip_completed=False,
        )
        self._ranks = ranks

    def get_incomplete_ranks(self, ranks: Any = None, skip_completed: Any = None) -> list[int]:
        return self._ranks

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        given = super().get_sbatch_args(max_array)
        del given["mem-per-cpu"]  # memory is asked for as a whole
        if not given["partition"]:
            del given["partition"]
        return given  # type: ignore[no-any-return]

    def launch_merge_stats(self) -> None:
        pass

    def save_executor_as_json(self, indent: int = 4) -> None:
        pass


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the variables of the job that this process may itself be: new jobs would inherit them."""
    before = dict(os.environ)
    if "SLURM_JOB_ID" in before:
        for name in before:
            if name.startswith("SLURM_") and name != "SLURM_CONF":
                del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


@contextlib.contextmanager
def _stderr_lines(lines: list[str]) -> Iterator[None]:
    """Catch what subprocesses print: datatrove lets sbatch write its reasons to the terminal."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
