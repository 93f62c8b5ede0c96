"""Runs what is missing of an experiment, and writes what came out of it."""

from __future__ import annotations

import shlex
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep import store
from data_prep.configfile import config_sha, to_yaml
from data_prep.progress import clock
from pipeline.commands import call, with_free_port
from pipeline.config.experiment import ExperimentConfig
from pipeline.experiments.plan import Child, children, store_of
from pipeline.experiments.summary import Outcome, figure, finals, markdown, summarize, to_csv
from pipeline.runs import RunFolder
from pipeline.tracking import RunInfo, Tracker
from pipeline.tracking.lineage import EXPERIMENT, PARENT_VARIABLE, environment_tags
from pipeline.tracking.runfolder import RunRecord
from pipeline.tracking.uri import resolve_uri

TABLE, CHILDREN, PLOT, SETTINGS, LOGS = "table.md", "children.csv", "plot", "experiment.yaml", "logs"
"""What lies in the experiment's folder beside the children: the table, one line a child, plot.svg and plot.png."""
_TAIL_LINES = 12
Say = Callable[[str], None]


def _print(line: str) -> None:
    print(line, flush=True)


class ChildFailed(Exception):
    """A run of an experiment ended with an error.

    Attributes:
        child: which.
        code: its exit code.
        log: file with what it said.
        tail: the end of that.
    """

    def __init__(self, child: Child, code: int, log: Path, tail: str) -> None:
        super().__init__(child.name, code)
        self.child, self.code, self.log, self.tail = child, code, log, tail


@dataclass(frozen=True)
class Took:
    """How long a child ran, in seconds."""

    child: Child
    seconds: float


def left(remaining: Sequence[Child], took: Sequence[Took]) -> float | None:
    """Seconds that the remaining children will take; None as long as nothing is known.

    Each as long as the median of what was nearest to it: the same arm and point, else the same arm, else all.
    """
    if not took:
        return None

    def of(child: Child) -> float:
        same_arm = [one for one in took if one.child.arm == child.arm]
        same_point = [one for one in same_arm if one.child.point == child.point]
        return statistics.median(one.seconds for one in same_point or same_arm or took)

    return sum(of(child) for child in remaining)


def show_plan(experiment: ExperimentConfig, file: str, say: Say = _print) -> None:
    """List the children: complete or not, and the command of those that are missing.

    Raises:
        UserError: see `children`.
    """
    everything = children(experiment, file)
    done = 0
    for number, child in enumerate(everything, 1):
        heading = f"[{number}/{len(everything)}] {child.title}: "
        result = child.result()
        if result is not None:
            done += 1
            say(f"{heading}complete, {_headline(experiment, result['metrics'])}")
        else:
            say(f"{heading}to be run\n  $ {shlex.join(child.command)}")
    say(f"{experiment.name}: {done} of {len(everything)} runs are complete")


def run(experiment: ExperimentConfig, file: str, say: Say = _print) -> Path:
    """Run the children that are missing, one after the other, and write table, CSV and plot; returns the folder.

    Each is a command of its own; what it says is kept in `logs/`. A child that is complete and was made from what is
    there now is not run again.

    Args:
        experiment: the experiment.
        file: where it was read from.
        say: is told each step.

    Raises:
        UserError: a config is missing or wrong; another process runs this experiment.
        ChildFailed: a run ended with another exit code than 0.
    """
    everything = children(experiment, file)
    folder = RunFolder(Path(experiment.dir) / experiment.name)
    folder.lock()
    store.write_bytes(str(folder.path / SETTINGS), to_yaml(experiment).encode())
    uri = resolve_uri(store_of(experiment)) if experiment.tracking.mlflow else None
    with Tracker.start(folder.path, _info(experiment), uri, experiment.tracking.experiment) as tracker:
        parent = RunRecord.load(folder.path).id
        outcomes = _complete(experiment, everything, folder.path, parent, say)
        _write(experiment, everything, outcomes, folder.path)
        _plot(experiment, everything, outcomes, folder.path)
        rows = summarize(everything, outcomes, _metrics(experiment))
        tracker.set_final(finals(rows))
        for name in (SETTINGS, TABLE, CHILDREN, f"{PLOT}.svg", f"{PLOT}.png"):
            tracker.add_artifact(name)
    return folder.path


def _info(experiment: ExperimentConfig) -> RunInfo:
    """The parent run. It stays the same when arms, points or seeds are added: its children belong to it."""
    return RunInfo(
        name=experiment.name,
        stage=EXPERIMENT,
        params={"experiment": experiment.name},
        tags={
            **environment_tags(),
            "config_sha": config_sha(experiment),
            "title": experiment.title,
            "arms": "; ".join(arm.name for arm in experiment.arms),
            "seeds": ", ".join(map(str, experiment.seeds)),
        },
    )


def _complete(
    experiment: ExperimentConfig, everything: Sequence[Child], folder: Path, parent: str, say: Say
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    took: list[Took] = []
    for number, child in enumerate(everything, 1):
        heading = f"[{number}/{len(everything)}] {child.title}: "
        result, seconds = child.result(), None
        if result is None:
            begin = time.monotonic()
            _run_child(experiment, child, folder, parent)
            seconds = time.monotonic() - begin
            took.append(Took(child, seconds))
            result = child.result()
            if result is None:
                raise RuntimeError(f"{child.name} ended well and left no result")
        outcomes[child.name] = Outcome(child, result["metrics"])
        shown = _headline(experiment, result["metrics"])
        if seconds is None:
            say(f"{heading}{shown} (complete)")
            continue
        _write(experiment, everything, outcomes, folder)
        remaining = left([one for one in everything[number:] if one.result() is None], took)
        rest = f"  eta {clock(remaining)}" if remaining else ""
        say(f"{heading}{shown} ({clock(seconds)}){rest}")
    return outcomes


def _run_child(experiment: ExperimentConfig, child: Child, folder: Path, parent: str) -> None:
    log = folder / LOGS / f"{child.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        code = call(with_free_port(child.command), experiment.dir, experiment.device, output, {PARENT_VARIABLE: parent})
    if code != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise ChildFailed(child, code, log, "\n".join(lines[-_TAIL_LINES:]))


def _metrics(experiment: ExperimentConfig) -> list[str]:
    floor = [experiment.floor] if experiment.floor is not None else []
    return list(dict.fromkeys([experiment.metric, *experiment.metrics, *floor]))


def _headline(experiment: ExperimentConfig, metrics: Mapping[str, Any]) -> str:
    value = metrics.get(experiment.metric)
    return f"{experiment.metric} {figure(experiment.metric, value)}" if value is not None else "no such metric"


def _write(
    experiment: ExperimentConfig, everything: Sequence[Child], outcomes: Mapping[str, Outcome], folder: Path
) -> None:
    metrics = _metrics(experiment)
    axis = experiment.axis.name if experiment.axis is not None else None
    table = markdown(experiment.title, axis, summarize(everything, outcomes, metrics), metrics)
    store.write_bytes(str(folder / TABLE), table.encode())
    store.write_bytes(str(folder / CHILDREN), to_csv(everything, outcomes).encode())


def _plot(
    experiment: ExperimentConfig, everything: Sequence[Child], outcomes: Mapping[str, Outcome], folder: Path
) -> None:
    # Here and not above: matplotlib takes a second to import, which a dry run has no need of.
    from pipeline.experiments.plot import draw

    rows = summarize(everything, outcomes, _metrics(experiment))
    for ending, data in draw(experiment, rows).items():
        store.write_bytes(str(folder / f"{PLOT}.{ending}"), data)
