"""One task of a stage by its rank, as an element of a job array calls it.

    data-prep task CONFIG links                # plans the stage: how many tasks there are
    sbatch --array=0-7 --wrap "data-prep task CONFIG links"
    data-prep links CONFIG                     # checks all tasks and completes the stage

A rank runs exactly its task of the stored plan, and nothing if that is complete.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from data_prep import lock, runner, store
from data_prep.chain import Chain
from data_prep.config import DataConfig
from data_prep.configfile import load
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef
from data_prep.runner import PLAN_FILE, Say
from data_prep.stage import Task, plan_json
from data_prep.step import Step

RANK_VARIABLE = "SLURM_ARRAY_TASK_ID"


def command(path: str, stage: str, rank: str | None, overrides: Sequence[str], say: Say = runner.say) -> None:
    """`data-prep task`: with a rank, or $SLURM_ARRAY_TASK_ID, do that task; else plan the stage.

    Args:
        path: the config file.
        stage: name of the stage.
        rank: digits; an item with `=` is one more override.
        overrides: settings that win over the file.
        say: prints a line.

    Raises:
        UserError: see `plan_stage` and `run_task`; or the rank is no number.
    """
    if rank is not None and "=" in rank:
        overrides, rank = [rank, *overrides], None
    config = load(path, DataConfig, overrides)
    rank = rank or os.environ.get(RANK_VARIABLE)
    if rank is None:
        count = plan_stage(config, stage, say)
        say(f"{stage}: {count:,} tasks, ranks 0 to {count - 1}")
    elif rank.isdecimal():
        run_task(config, stage, int(rank), say)
    else:
        raise UserError(f"{rank!r} is not a rank", where="data-prep task", fix="give a number from 0")


def plan_stage(config: DataConfig, name: str, say: Say) -> int:
    """Store the plan of a stage, as a run would; returns its number of tasks.

    Raises:
        UserError: there is no such stage, one before it is not complete, or a run works in the same root.
    """
    chain = Chain(config, workers=1, say=say)
    step = _step(chain, name)
    with lock.held(config.root):
        chain.require_before(step)
        stage = chain.stage(step)
        tasks = stage.plan()
        runner.settle_plan(stage, plan_json(stage, tasks), say)
    return len(tasks)


def run_task(config: DataConfig, name: str, rank: int, say: Say) -> None:
    """Do one task of a stage's stored plan.

    Raises:
        UserError: there is no such stage, plan or rank; a stage before is not complete; settings, code or input have
            changed since the plan was made; the task is being done elsewhere, or fails on its input.
    """
    chain = Chain(config, workers=1, say=say)
    step = _step(chain, name)
    folder = chain.folder(step)
    with lock.held(config.root, shared=True):
        chain.require_before(step)
        plan, path = _plan(folder, name)
        try:
            stage = chain.planned_stage(step, plan["upstream"])
            tasks = [_task(entry) for entry in plan["tasks"]]
            digest = plan["tasks"][rank]["digest"] if 0 <= rank < len(tasks) else None
            as_planned = plan["upstream"] == stage.upstream
        except (KeyError, TypeError) as error:
            raise CorruptFile(f"not a plan ({error!r})", where=path, fix=f"run `data-prep {step.command}`") from None
        if digest is None:
            raise UserError(
                f"there is no task {rank}", where=f"stage {name}", fix=f"give a rank from 0 to {len(tasks) - 1}"
            )
        if not as_planned or stage.plan_entry(tasks[rank]) != digest:
            raise UserError(
                "settings, code or input have changed since this plan was made",
                where=path,
                fix=f"run `data-prep task CONFIG {name}` without a rank to plan it anew",
            )
        with lock.held(store.join(folder, "locks", f"{rank:05d}")):
            runner.run_task(stage, tasks, rank, say)


def _step(chain: Chain, name: str) -> Step:
    for step in chain.steps:
        if step.name == name:
            return step
    known = ", ".join(step.name for step in chain.steps)
    raise UserError(f"this corpus has no stage {name!r}", where="data-prep task", fix=f"its stages are {known}")


def _plan(folder: str, name: str) -> tuple[dict[str, Any], str]:
    path = store.join(folder, PLAN_FILE)
    try:
        return dict(store.read_json(path)), path
    except FileNotFoundError:
        raise UserError(
            f"the stage {name} has no plan yet",
            where=folder,
            fix=f"run `data-prep task CONFIG {name}` without a rank, which makes it",
        ) from None


def _task(entry: dict[str, Any]) -> Task:
    inputs = {label: [FileRef(**ref) for ref in refs] for label, refs in entry["inputs"].items()}
    return Task(entry["index"], inputs, entry["params"])
