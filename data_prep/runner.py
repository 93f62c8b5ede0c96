"""Brings one stage to completion: checks what is there, runs what is missing, writes the stage's manifest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, Protocol

from data_prep import store
from data_prep.configfile import flatten, resolved
from data_prep.errors import CorruptFile, UserError, full_disk
from data_prep.executor import LocalExecutor, StageStep, WorkerDied
from data_prep.manifest import STAGE_FILE, StageManifest, TaskManifest, Totals
from data_prep.progress import ProgressBar
from data_prep.stage import PROGRESS, Stage, Task, load_task_manifest, plan_json

PLAN_FILE = "plan.json"
LOGS = "logs"
ALARM_BELOW = 0.01
"""A filter that keeps less than this share of its input, or all of it, is reported loudly."""

Say = Callable[[str], None]
ExecutorName = Literal["local", "ray"]


class _Executor(Protocol):
    def run(self) -> dict[int, Exception]: ...


def say(line: str) -> None:
    """Print a line to stdout at once."""
    print(line, flush=True)


def run_stage(stage: Stage, workers: int, say: Say = say, executor: ExecutorName = "local") -> StageManifest:
    """Complete a stage and return its manifest.

    Complete tasks are recognised by their manifests and skipped; a stage whose plan changed (inputs, settings or code
    version) is made anew. The executor has no part in the bytes.

    Raises:
        UserError: a task failed on its input; the other tasks were still completed.
    """
    start = time.monotonic()
    tasks = stage.plan()
    _settle_plan(stage, tasks, say)
    done: dict[int, TaskManifest] = {}
    with ProgressBar(f"{stage.name} check", len(tasks), "tasks") as bar:
        for task in tasks:
            manifest = load_task_manifest(stage, task)
            if manifest is not None:
                done[task.index] = manifest
            bar.update(task.index + 1)
    todo = [task.index for task in tasks if task.index not in done]
    if todo:
        if done:
            say(f"{stage.name}: continuing, {len(done)} of {len(tasks)} tasks are complete")
        store.remove(store.join(stage.folder, STAGE_FILE))
        _run_tasks(stage, tasks, todo, len(done), workers, executor)
        for task in tasks:
            if task.index not in done:
                manifest = load_task_manifest(stage, task)
                if manifest is None:
                    raise CorruptFile(
                        "the files just written do not match their manifest",
                        where=stage.manifest_path(task),
                        fix="check the disk",
                    )
                done[task.index] = manifest
    parts = [done[task.index] for task in tasks]
    result = _stage_manifest(stage, parts)
    if not _is_current(stage, result):
        result.save(stage.folder)
    store.remove(store.join(stage.folder, PROGRESS))
    took = f"{time.monotonic() - start:.1f} s" if todo else "complete, verified"
    say(_line(stage.name, result.totals, took))
    for reason, count in sorted(result.totals.dropped.items(), key=lambda item: -item[1]):
        say(f"    - {count:>10,}  {reason}")
    if stage.is_filter:
        _alarm(stage.name, result.totals, say)
    return result


def _settle_plan(stage: Stage, tasks: list[Task], say: Say) -> None:
    """Store the plan; if another one is there, clear what it made."""
    path = store.join(stage.folder, PLAN_FILE)
    plan = plan_json(stage, tasks)
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


def _make_executor(
    name: ExecutorName, step: StageStep, todo: list[int], workers: int, logs: str, on_poll: Callable[[int], None]
) -> _Executor:
    if name == "ray":
        from data_prep.ray_executor import RayExecutor

        return RayExecutor(step, todo, workers, logs, on_poll)
    return LocalExecutor(step, todo, workers, logs, on_poll)


def _run_tasks(
    stage: Stage, tasks: list[Task], todo: list[int], complete: int, workers: int, executor: ExecutorName
) -> None:
    with ProgressBar(stage.name, 0, "tasks") as bar:

        def on_poll(ended: int) -> None:
            # A task's own heartbeat refines the count of ended tasks.
            part = 0.0
            for index in todo:
                path = stage.progress_path(index)
                if not store.exists(stage.manifest_path(tasks[index])) and store.exists(path):
                    try:
                        beat = store.read_json(path)
                        part += min(1.0, beat["done"] / max(beat["total"], 1e-9))
                    except (CorruptFile, OSError, KeyError):
                        continue
            bar.update(complete + ended + part, len(tasks))

        logs = store.join(stage.folder, LOGS)
        failures = _make_executor(executor, StageStep(stage, tasks), todo, workers, logs, on_poll).run()
    if failures:
        first = min(failures)
        error = failures[first]
        others = f" ({len(failures) - 1} more tasks failed: {sorted(failures)[1:6]})" if len(failures) > 1 else ""
        if isinstance(error, UserError):
            raise UserError(f"{error.what}{others}", where=error.where, fix=error.fix)
        clear = full_disk(error, stage.folder) if isinstance(error, OSError) else None
        if clear is not None:
            raise clear
        if isinstance(error, WorkerDied):
            raise UserError(f"{error}{others}", where=f"stage {stage.name}", fix="give it more memory or fewer workers")
        log = store.join(stage.folder, LOGS, "logs", f"task_{first:05d}.log")
        raise RuntimeError(f"stage {stage.name}, task {first} failed{others}; its log: {log}") from error


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
