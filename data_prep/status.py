"""How far a run is, seen from another process: what stages planned, which tasks have ended, what running ones report.

All is read from the folders of the stages, so that it works for any executor and for a run that has died. A task
counts as done when its manifest answers the plan; whether its files are still intact is checked by the run itself.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from data_prep import lock, store
from data_prep.corpus import Corpus, StageView
from data_prep.errors import CorruptFile
from data_prep.excerpt import excerpt, printable
from data_prep.failures import FAILED
from data_prep.manifest import Totals
from data_prep.progress import clock
from data_prep.report.charts import short
from data_prep.runner import PLAN_FILE
from data_prep.stage import MANIFESTS, PROGRESS

SILENT_SECONDS = 20.0
"""A task that has not reported for longer may be dead or stuck."""
_SHOWN_TASKS = 8
_EXACT_BELOW = 10**7
_ERROR_CHARACTERS = 400

State = Literal["complete", "running", "stopped", "failed", "waiting"]


@dataclass(frozen=True)
class RunningTask:
    """A task that has reported and is not done.

    Attributes:
        task: its number.
        done: amount done, in `unit`.
        total: amount in all.
        unit: what is counted.
        rate: `unit` per second since the task began; None if not known.
        silent: seconds since it last reported.
    """

    task: int
    done: float
    total: float
    unit: str
    rate: float | None
    silent: float

    @property
    def share(self) -> float:
        """Done of total, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


@dataclass(frozen=True)
class FailedTask:
    """A task that failed: its number, its last error in one line, its log."""

    task: int
    error: str
    log: str


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is.

    Attributes:
        stage: its name.
        state: `complete`; `running`: a run works on it, or a task has reported lately; `failed`: has failed tasks and
            does not run; `stopped`: neither; `waiting`: has not begun.
        tasks: in its plan.
        done: complete tasks.
        rows_in: rows read by complete tasks.
        rows_out: rows written by complete tasks.
        silent: seconds since its last sign of life; None if complete or waiting.
        eta: seconds left at the present speed; None if not known.
        running: what running tasks report.
        failed: failed tasks.
    """

    stage: str
    state: State
    tasks: int = 0
    done: int = 0
    rows_in: int = 0
    rows_out: int = 0
    silent: float | None = None
    eta: float | None = None
    running: tuple[RunningTask, ...] = ()
    failed: tuple[FailedTask, ...] = field(default=())

    @property
    def share(self) -> float:
        """Of the work that is done, running tasks in part, 0 to 1."""
        return (self.done + sum(task.share for task in self.running)) / self.tasks if self.tasks else 0.0


@dataclass(frozen=True)
class Status:
    """How far a corpus is.

    Attributes:
        name: the corpus's name.
        root: its folder.
        run: {"pid", "host", "command", ...} of the run that works on it now; None if none does.
        stages: in the order of the chain.
    """

    name: str
    root: str
    run: dict[str, Any] | None
    stages: tuple[StageStatus, ...]

    @property
    def complete(self) -> bool:
        """Whether every stage is complete."""
        return all(stage.state == "complete" for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        stages = [{**asdict(stage), "share": stage.share} for stage in self.stages]
        return {"name": self.name, "root": self.root, "run": self.run, "stages": stages}


def status(corpus: Corpus, now: float | None = None) -> Status:
    """How far each stage is.

    Args:
        corpus: as just opened.
        now: unix time, seconds.
    """
    moment = time.time() if now is None else now
    run = lock.holder(corpus.root)
    # A run does the stages in their order: the first that is not complete is the one it works on.
    works_on = next((view.name for view in corpus.stages if view.manifest is None), None) if run is not None else None
    begun = [_stage(view, moment, view.name == works_on) for view in corpus.stages]
    return Status(corpus.name, corpus.root, run, (*begun, *(StageStatus(name, "waiting") for name in corpus.waiting)))


def render(found: Status) -> RenderableType:
    """A table of the stages, then running and failed tasks."""
    table = Table(title=f"{found.name} ({found.root})", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in (("stage", "left"), ("state", "left"), ("tasks", "right"), ("in", "right"), ("out", "right")):
        table.add_column(heading, justify=side, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("")
    for stage in found.stages:
        table.add_row(*_row(stage))
    lines: list[RenderableType] = [table]
    if found.run is not None:
        who = f"process {found.run.get('pid', '?')} on {found.run.get('host', '?')}"
        lines.append(Text(f"at work: {who} ({printable(str(found.run.get('command', '')))})"))
    for stage in found.stages:
        for task in stage.running[:_SHOWN_TASKS]:
            lines.append(Text(f"  {stage.stage} task {task.task}: {_progress(task)}"))
        if len(stage.running) > _SHOWN_TASKS:
            lines.append(Text(f"  {stage.stage}: {len(stage.running) - _SHOWN_TASKS} more tasks have begun"))
    for stage in found.stages:
        for failure in stage.failed[:_SHOWN_TASKS]:
            text = f"  {stage.stage} task {failure.task} FAILED: {excerpt(failure.error, _ERROR_CHARACTERS)}"
            lines.append(Text(f"{text} (log: {failure.log})" if failure.log else text, style="red"))
        if len(stage.failed) > _SHOWN_TASKS:
            lines.append(Text(f"  {stage.stage}: {len(stage.failed) - _SHOWN_TASKS} more tasks failed", style="red"))
    return Group(*lines)


def _row(stage: StageStatus) -> tuple[RenderableType, ...]:
    if stage.state == "waiting":
        return (stage.stage, Text("waiting", style="dim"), "", "", "", "")
    style = {"complete": "green", "running": "cyan", "failed": "red", "stopped": "yellow"}[stage.state]
    rows = tuple(f"{count:,}" if count < _EXACT_BELOW else short(count) for count in (stage.rows_in, stage.rows_out))
    return (stage.stage, Text(stage.state, style=style), f"{stage.done:,}/{stage.tasks:,}", *rows, _note(stage))


def _note(stage: StageStatus) -> str:
    if stage.state == "complete":
        return ""
    notes = [f"{100 * stage.share:.0f} %"]
    if stage.state == "running" and stage.eta is not None:
        notes.append(f"eta {clock(stage.eta)}")
    if stage.failed:
        notes.append(f"{len(stage.failed):,} failed")
    if stage.state != "running" and stage.silent is not None:
        notes.append(f"silent for {clock(stage.silent)}")
    return ", ".join(notes)


def _progress(task: RunningTask) -> str:
    scale, unit = (1e6, "MB") if task.unit == "bytes" else (1.0, task.unit)
    text = f"{100 * task.share:.0f} %, {task.done / scale:,.0f}/{task.total / scale:,.0f} {unit}"
    if task.rate is not None:
        rate = task.rate / scale
        text += f", {rate:,.0f} {unit}/s" if rate >= 100 else f", {rate:.2g} {unit}/s"
    return f"{text}, silent for {clock(task.silent)}" if task.silent > SILENT_SECONDS else text


def _stage(view: StageView, now: float, worked_on: bool) -> StageStatus:
    plans = [task["digest"] for task in view.plan["tasks"]]
    if view.manifest is not None:
        totals = view.manifest.totals
        return StageStatus(view.name, "complete", len(plans), len(plans), totals.rows_in, totals.rows_out)
    done, ended = _done(view, plans)
    totals = Totals.sum(done.values())
    failed = _failed(view, done)
    over = {*done, *(failure.task for failure in failed)}
    beats = sorted(_numbered(store.join(view.folder, PROGRESS)).items())
    begun = [_running(task, path, now) for task, path in beats if task not in over]
    running = tuple(task for task in begun if task is not None)
    signs = [*ended, *(now - task.silent for task in running), _modified(store.join(view.folder, PLAN_FILE)) or 0.0]
    # Single tasks of an array hold no lock that tells of them; they report.
    alive = worked_on or any(task.silent < SILENT_SECONDS for task in running)
    state: State = "running" if alive else "failed" if failed else "stopped"
    eta = _eta(len(plans) - len(over), running, ended) if alive else None
    silent = max(0.0, now - max(signs))
    rows = (totals.rows_in, totals.rows_out)
    return StageStatus(view.name, state, len(plans), len(done), *rows, silent, eta, running, failed)


def _eta(left: int, running: Sequence[RunningTask], ended: Sequence[float]) -> float | None:
    """Seconds for `left` tasks at the speed of the running ones, or else of those that ended last."""
    lively = [task for task in running if task.silent < SILENT_SECONDS]  # the others were left by a run that died
    work = left - sum(task.share for task in lively)
    speeds = [task.rate / task.total for task in lively if task.rate and task.total > 0]
    if speeds and len(speeds) == len(lively):
        return work / sum(speeds)
    last = sorted(ended)[-32:]
    if len(last) > 1 and last[-1] > last[0]:
        return work * (last[-1] - last[0]) / (len(last) - 1)
    return None


def _done(view: StageView, plans: Sequence[str]) -> tuple[dict[int, Totals], list[float]]:
    """Complete tasks -> their counts, and the unix times at which they ended."""
    found, ended = {}, []
    for task, path in _numbered(store.join(view.folder, MANIFESTS)).items():
        manifest = _json(path)
        try:
            if task < len(plans) and manifest["plan"] == plans[task]:
                found[task] = Totals(**manifest["totals"])
                ended.append(_modified(path) or 0.0)
        except (KeyError, TypeError):
            continue
    return found, ended


def _running(task: int, path: str, now: float) -> RunningTask | None:
    beat, at = _json(path), _modified(path)
    try:
        seconds = beat.get("seconds")
        rate = beat["done"] / seconds if seconds else None
        return RunningTask(task, beat["done"], beat["total"], beat["unit"], rate, max(0.0, now - (at or now)))
    except (AttributeError, KeyError, TypeError):
        return None  # torn by a crash, or just being written


def _failed(view: StageView, done: Mapping[int, Totals]) -> tuple[FailedTask, ...]:
    found = []
    for task, path in sorted(_numbered(store.join(view.folder, FAILED)).items()):
        failure = _json(path)
        if task not in done and isinstance(failure, dict):
            found.append(FailedTask(task, str(failure.get("error", "")), str(failure.get("log", ""))))
    return tuple(found)


def _numbered(folder: str) -> dict[int, str]:
    """Number -> path of the files NNNNN.json in a folder; empty if there is none."""
    found = {}
    for path in store.listing(folder) if store.exists(folder) else []:
        stem, ending = posixpath.splitext(posixpath.basename(path))
        if ending == ".json" and stem.isdecimal():
            found[int(stem)] = path
    return found


def _json(path: str) -> Any:
    """What a file holds that another process may be writing or removing; None if it cannot be read now."""
    try:
        return store.read_json(path)
    except (CorruptFile, OSError):
        return None


def _modified(path: str) -> float | None:
    """Unix time (s) of the last change; None if the file is gone or its file system does not tell."""
    try:
        if store.is_local(path):
            return Path(store.local(path)).stat().st_mtime
        fs, inner = store.filesystem(path)
        return float(fs.modified(inner).timestamp())
    except (OSError, NotImplementedError, AttributeError):
        return None
