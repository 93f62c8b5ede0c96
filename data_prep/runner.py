"""Brings one stage to completion: checks what is there, runs what is missing, writes the stage's manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, Protocol

from data_prep import failures, slurm_executor, store
from data_prep.configfile import flatten, resolved
from data_prep.errors import CorruptFile, UserError, full_disk
from data_prep.executor import LocalExecutor, StageStep
from data_prep.failures import LOGS, WorkerDied
from data_prep.inline_executor import InlineExecutor
from data_prep.manifest import STAGE_FILE, StageManifest, TaskManifest, Totals
from data_prep.progress import ProgressBar
from data_prep.slurm_executor import SlurmSettings
from data_prep.stage import PROGRESS, Stage, Task, load_task_manifest, plan_json

PLAN_FILE = "plan.json"
ALARM_BELOW = 0.01
"""A filter that keeps less than this share of its input, or all of it, is reported loudly."""

_HASHERS = min(8, os.cpu_count() or 1)
_HEARTBEATS_SECONDS, _REMOTE_HEARTBEATS_SECONDS = 1.0, 5.0

Say = Callable[[str], None]
ExecutorName = Literal["inline", "local", "ray", "slurm"]


class _Executor(Protocol):
    def run(self) -> dict[int, Exception]: ...


class _NewExecutor(Protocol):
    def __call__(
        self, step: StageStep, ranks: list[int], workers: int, logging_dir: str, on_poll: Callable[[int], None]
    ) -> _Executor: ...


def say(line: str) -> None:
    """Print a line to stdout at once."""
    print(line, flush=True)


def run_stage(
    stage: Stage,
    workers: int,
    say: Say = say,
    executor: ExecutorName = "local",
    slurm: SlurmSettings | None = None,
) -> StageManifest:
    """Complete a stage and return its manifest.

    Complete tasks are recognised by their manifests and skipped; a stage whose plan changed (inputs, settings or code
    version) is made anew. The executor has no part in the bytes.

    Args:
        stage: the stage.
        workers: tasks at a time; 0, for Slurm alone: as many as it likes.
        say: prints a line.
        executor: what runs the tasks.
        slurm: what they ask of Slurm.

    Raises:
        UserError: a task failed on its input (the other tasks were still completed); or Slurm jobs of an earlier run
            still work on this stage.
    """
    start = time.monotonic()
    tasks = stage.plan()
    plan = plan_json(stage, tasks)
    job = slurm_executor.job_name(stage, [entry["digest"] for entry in plan["tasks"]])
    slurm_executor.refuse_other_jobs(stage, job if executor == "slurm" else None)
    settle_plan(stage, plan, say)
    done = _complete_tasks(stage, tasks)
    todo = [task.index for task in tasks if task.index not in done]
    if todo:
        if done:
            say(f"{stage.name}: continuing, {len(done)} of {len(tasks)} tasks are complete")
        store.remove(store.join(stage.folder, STAGE_FILE))
        _run_tasks(stage, tasks, todo, len(done), workers, _executor(executor, slurm or SlurmSettings(), job))
        done |= _complete_tasks(stage, [tasks[index] for index in todo])
        for index in todo:
            if index not in done:
                raise _written_wrongly(stage, tasks[index])
    parts = [done[task.index] for task in tasks]
    result = _stage_manifest(stage, parts)
    if not _is_current(stage, result):
        result.save(stage.folder)
    for folder in (PROGRESS, failures.FAILED):
        store.remove(store.join(stage.folder, folder))
    took = f"{time.monotonic() - start:.1f} s" if todo else "complete, verified"
    say(_line(stage.name, result.totals, took))
    for reason, count in sorted(result.totals.dropped.items(), key=lambda item: -item[1]):
        say(f"    - {count:>10,}  {reason}")
    if stage.is_filter:
        _alarm(stage.name, result.totals, say)
    return result


def run_task(stage: Stage, tasks: list[Task], index: int, say: Say = say) -> None:
    """Do one task of a plan in a process of its own; nothing if it is complete.

    Raises:
        UserError: it fails on its input, or is killed.
    """
    done = load_task_manifest(stage, tasks[index])
    if done is None:
        _run_tasks(stage, tasks, [index], 0, 1, partial(LocalExecutor, preload=[type(stage).__module__]))
        done = load_task_manifest(stage, tasks[index])
    if done is None:
        raise _written_wrongly(stage, tasks[index])
    say(f"{stage.name} task {index}: complete, {done.totals.rows_in:,} -> {done.totals.rows_out:,}")


def _written_wrongly(stage: Stage, task: Task) -> CorruptFile:
    return CorruptFile(
        "the files just written do not match their manifest", where=stage.manifest_path(task), fix="check the disk"
    )


def _complete_tasks(stage: Stage, tasks: Sequence[Task]) -> dict[int, TaskManifest]:
    """The manifests of those tasks that are complete, their files hashed."""
    done = {}
    with ProgressBar(f"{stage.name} check", len(tasks), "tasks") as bar, ThreadPoolExecutor(_HASHERS) as pool:
        # Hashing and reading run beside each other: neither holds the interpreter's lock.
        for count, manifest in enumerate(pool.map(partial(load_task_manifest, stage), tasks)):
            if manifest is not None:
                done[tasks[count].index] = manifest
            bar.update(count + 1)
    return done


def settle_plan(stage: Stage, plan: dict[str, Any], say: Say) -> None:
    """Store the plan; if another one is there, clear what it made."""
    path = store.join(stage.folder, PLAN_FILE)
    if store.exists(path):
        try:
            old = store.read_json(path)
        except CorruptFile:
            old = {}
        same = [t["digest"] for t in old.get("tasks", [])] == [t["digest"] for t in plan["tasks"]]
        if same and old.get("upstream") == plan["upstream"]:
            return
        if old:
            say(f"{stage.name}: {_difference(old, plan)}; making it anew")
        # The old plan goes last (it is overwritten): stopped in between, the next run clears the rest.
        store.clear(stage.folder, keep=PLAN_FILE)
    store.write_json(path, plan)


def _difference(old: dict[str, object], new: dict[str, object]) -> str:
    """What changed between two plans, in words."""
    if old.get("code") != new["code"]:
        return f"code version {old.get('code')} -> {new['code']}"
    before, after = old.get("settings"), new["settings"]
    if isinstance(before, dict) and isinstance(after, dict) and before != after:
        a, b = flatten(before), flatten(after)
        changed = [f"{k} {a.get(k)!r} -> {b.get(k)!r}" for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
        return "settings changed (" + ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "") + ")"
    return "the input changed"


def _executor(name: ExecutorName, slurm: SlurmSettings, job: str) -> _NewExecutor:
    if name == "inline":
        return InlineExecutor
    if name == "ray":
        from data_prep.ray_executor import RayExecutor

        return RayExecutor
    if name == "slurm":
        return partial(slurm_executor.SlurmExecutor, settings=slurm, name=job)
    return LocalExecutor


def _run_tasks(
    stage: Stage, tasks: list[Task], todo: list[int], complete: int, workers: int, executor: _NewExecutor
) -> None:
    pause = _HEARTBEATS_SECONDS if store.is_local(stage.folder) else _REMOTE_HEARTBEATS_SECONDS
    with ProgressBar(stage.name, 0, "tasks") as bar:
        part, read_at = 0.0, 0.0

        def on_poll(ended: int) -> None:
            # The heartbeats of running tasks refine the count of ended ones.
            nonlocal part, read_at
            if time.monotonic() - read_at > pause:
                part, read_at = _begun(stage), time.monotonic()
            bar.update(min(complete + ended + part, len(tasks)), len(tasks))

        failed = executor(StageStep(stage, tasks), todo, workers, store.join(stage.folder, LOGS), on_poll).run()
    if failed:
        first = min(failed)
        error = failed[first]
        others = f" ({len(failed) - 1} more tasks failed: {sorted(failed)[1:6]})" if len(failed) > 1 else ""
        if isinstance(error, UserError):
            raise UserError(f"{error.what}{others}", where=error.where, fix=error.fix)
        clear = full_disk(error, stage.folder) if isinstance(error, OSError) else None
        if clear is not None:
            raise clear
        log = failures.log_of(stage.folder, first)
        if isinstance(error, (WorkerDied, MemoryError)):
            what = str(error) if isinstance(error, WorkerDied) else f"task {first} ran out of memory"
            raise UserError(
                f"{what}{others}", where=f"stage {stage.name}", fix=f"give it more memory or fewer workers; log: {log}"
            )
        raise RuntimeError(f"stage {stage.name}, task {first} failed{others}; its log: {log}") from error


def _begun(stage: Stage) -> float:
    """How much of the running tasks is done, as a number of tasks."""
    part = 0.0
    for path in store.listing(store.join(stage.folder, PROGRESS)):
        try:
            beat = store.read_json(path)
            part += min(1.0, beat["done"] / max(beat["total"], 1e-9))
        except (CorruptFile, OSError, KeyError, TypeError):
            continue
    return part


def _stage_manifest(stage: Stage, parts: list[TaskManifest]) -> StageManifest:
    totals = Totals.sum(part.totals for part in parts)
    outputs = tuple(ref for part in parts for ref in part.outputs)
    return StageManifest(
        stage=stage.name,
        code=stage.code,
        settings=resolved(stage.settings),
        upstream=stage.upstream,
        totals=totals,
        outputs=outputs,
        summary=stage.finish([ref.under(stage.folder) for ref in outputs], totals),
    )


def _is_current(stage: Stage, manifest: StageManifest) -> bool:
    try:
        return StageManifest.load(stage.folder).digest == manifest.digest
    except (UserError, FileNotFoundError):
        return False


def _line(name: str, totals: Totals, took: str) -> str:
    return f"{name:<14} {totals.rows_in:>11,} -> {totals.rows_out:>11,}   {took}"


def _alarm(name: str, totals: Totals, say: Say) -> None:
    if totals.rows_in == 0:
        return
    share = totals.rows_out / totals.rows_in
    if share == 1.0 or share < ALARM_BELOW:
        say(
            f"WARNING: {name} kept {100 * share:.2f} % of {totals.rows_in:,} rows: "
            "check its settings and look at what it removed before going on"
        )
