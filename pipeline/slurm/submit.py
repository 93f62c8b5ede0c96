"""The steps of a chain as Slurm jobs that wait for each other.

Every job carries a comment made of the chain's root and its step, by which it is found again in the queue; job ids are
kept in ROOT/slurm/jobs.json. Steps that find out themselves what is left to do (data preparation, tracking, comparison)
leave a mark in ROOT/slurm/done when their job has succeeded, named by all that they were told.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep import __version__, configfile, store
from data_prep.errors import CorruptFile, UserError, to_write_in
from pipeline.chain import ChainConfig, Step
from pipeline.commands import HOME
from pipeline.slurm import queue
from pipeline.slurm.options import SbatchConfig
from pipeline.slurm.queue import Job

SCRIPTS = {
    "data": "data_prep.sbatch",
    "pretrain": "pretrain.sbatch",
    "finetune": "finetune.sbatch",
    "evaluate": "evaluate.sbatch",
}
"""Kind of step -> batch script; the others are one command each."""


@dataclass(frozen=True)
class Places:
    """Where a chain keeps what belongs to its jobs.

    Attributes:
        root: of the chain.
    """

    root: Path

    @staticmethod
    def of(chain: ChainConfig) -> Places:
        """Those of a chain.

        Raises:
            UserError: its root is no folder of a file system.
        """
        if not store.is_local(chain.root):
            raise UserError("jobs need a root on a shared file system", where="root", fix="give a folder")
        return Places(Path(store.local(chain.root)).resolve())

    @property
    def folder(self) -> Path:
        """Jobs, logs and marks."""
        return self.root / "slurm"

    @property
    def comment(self) -> str:
        """Beginning of the comments of all its jobs."""
        return f"webtext-{store.digest(str(self.root))[:12]}-"

    def mark(self, step: Step) -> Path:
        """File that is there when a job has succeeded in a step, told just this."""
        config = configfile.read_mapping(step.settings[0]) if step.settings else None
        told = [__version__, list(step.command), config]
        return self.folder / "done" / f"{step.name}-{store.digest(told)[:12]}"

    def log(self, step: Step, job: str) -> Path:
        """What a job prints."""
        return self.folder / f"{step.name}-{job}.log"

    def job_ids(self) -> dict[str, str]:
        """Step -> id of the last job that was submitted for it."""
        path = self.folder / "jobs.json"
        if not path.exists():
            return {}
        found = store.read_json(str(path))
        if not isinstance(found, dict):
            raise CorruptFile("not a table of jobs; move it away", where=str(path))
        return {str(step): str(job) for step, job in found.items()}

    def write_job_ids(self, jobs: Mapping[str, str]) -> None:
        """Replace the file atomically."""
        store.write_json(str(self.folder / "jobs.json"), dict(jobs))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process submits jobs of this chain meanwhile.

        Raises:
            UserError: one does, or the folder cannot be written.
        """
        with to_write_in(str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = (self.folder / ".lock").open("w")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    "another process submits this chain", where=str(self.folder), fix="wait for it"
                ) from None
            yield


@dataclass(frozen=True)
class Item:
    """What is to be done about a step.

    Attributes:
        step: of the chain.
        state: "complete", "queued" (a job is there), or "submit".
        job: the one that is there.
        after: steps whose jobs, queued or to be submitted, it waits for.
    """

    step: Step
    state: str
    job: Job | None = None
    after: tuple[str, ...] = ()


def find_out(steps: Sequence[Step], jobs: Mapping[str, Job], is_complete: Callable[[Step], bool]) -> list[Item]:
    """What is to be done about each step.

    Args:
        steps: of the chain; each stands behind those that it comes after.
        jobs: step -> its job in the queue that will still do something.
        is_complete: whether nothing is left to do in a step, if nothing changes in those before it.
    """
    items: dict[str, Item] = {}
    for step in steps:
        waits = tuple(name for name in step.after if items[name].state != "complete")
        if step.name in jobs:
            items[step.name] = Item(step, "queued", jobs[step.name], waits)
        elif not waits and is_complete(step):
            items[step.name] = Item(step, "complete")
        else:
            items[step.name] = Item(step, "submit", after=waits)
    return list(items.values())


def sbatch_line(step: Step, chain: ChainConfig, places: Places, dependencies: Sequence[str]) -> list[str]:
    """The command that submits a step.

    Args:
        step: of the chain.
        chain: gives the options.
        places: of the chain.
        dependencies: job ids (or names, for people) that it waits for.
    """
    own: SbatchConfig = getattr(chain.slurm, step.kind if step.kind in SCRIPTS else "small")
    options = {
        "job-name": step.name,
        "comment": places.comment + step.name,
        "output": str(places.log(step, "%j")),
        **chain.slurm.given(),
        **own.given(),
    }
    if step.kind in ("pretrain", "finetune") and not {"ntasks-per-node", "gpus-per-node"} & options.keys():
        options["ntasks-per-node"] = str(step.ranks)
    if dependencies:
        options |= {"dependency": "afterok:" + ":".join(dependencies), "kill-on-invalid-dep": "yes"}
    words = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
    if step.kind in SCRIPTS:
        words += [str(HOME / "slurm" / SCRIPTS[step.kind]), *step.settings]
    else:
        # One command needs no script; open-mode and requeue as those in the scripts have them.
        done = shlex.quote(str(places.mark(step)))
        words += ["--open-mode=append", "--requeue", f"--wrap={shlex.join(step.command)} && : > {done}"]
    return ["sbatch", "--parsable", *words]


def environment(step: Step, chain: ChainConfig, places: Places) -> dict[str, str]:
    """Variables for a step's job."""
    env = {"WEBTEXT_HOME": str(HOME)}
    if step.kind == "data":
        env["DONE_FILE"] = str(places.mark(step))
    if chain.device == "cpu":
        env |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return env


def current(steps: Sequence[Step], places: Places) -> tuple[list[Item], dict[str, Job]]:
    """(what is to be done, step -> the last of its jobs that Slurm still knows).

    Raises:
        UserError: two steps have one name, or Slurm does not answer.
    """
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two steps are called {name}", where="chain", fix="set another run.name for one of them")
    known = {job.comment.removeprefix(places.comment): job for job in queue.jobs_commented(places.comment)}
    jobs = {name: known[name] for name in names if name in known}

    def is_complete(step: Step) -> bool:
        own_account = step.kind in ("data", "track", "compare")
        return places.mark(step).exists() if own_account else step.is_complete()

    active = {name: job for name, job in jobs.items() if not job.has_ended}
    return find_out(steps, active, is_complete), jobs


def _check_device(chain: ChainConfig) -> None:
    """Raise `UserError` if jobs would hold GPUs and train on the CPU."""
    slurm = chain.slurm
    for own in (slurm, slurm.pretrain, slurm.finetune, slurm.evaluate):
        found = [name for name in own.given() if name.startswith("gpus") or name == "gres"]
        if chain.device == "cpu" and found:
            raise UserError(
                f"slurm: asks for {found[0]}, but device is cpu", where="chain", fix="set device: auto, or ask for none"
            )


def submit(
    chain: ChainConfig, steps: Sequence[Step], say: Callable[[str], None], dry_run: bool = False
) -> dict[str, str]:
    """Submit what is neither complete nor queued; returns step -> job id of what was submitted.

    Args:
        chain: gives the options.
        steps: of the chain.
        say: prints a line.
        dry_run: only say what would be done; step names stand for job ids.

    Raises:
        UserError: the chain asks for GPUs and not to use them, or Slurm does not answer or refuses a job; what was
            submitted before stays and is noted.
    """
    places = Places.of(chain)
    queue.require()
    _check_device(chain)
    if dry_run:
        items, _ = current(steps, places)
        for item in items:
            if item.state == "submit":
                say(f"{item.step.name}:\n  {shlex.join(sbatch_line(item.step, chain, places, item.after))}")
            else:
                say(_standing(item))
        return {}
    with places.locked():
        (places.folder / "done").mkdir(exist_ok=True)
        items, last = current(steps, places)
        ids = places.job_ids()
        submitted: dict[str, str] = {}
        for item in items:
            name = item.step.name
            if item.state != "submit":
                if item.job is not None:
                    ids[name] = item.job.id
                say(_standing(item))
                continue
            if name in last and last[name].reason == queue.NEVER:
                queue.cancel(last[name].id)
            line = sbatch_line(item.step, chain, places, [ids[before] for before in item.after])
            ids[name] = submitted[name] = queue.submit(name, line, environment(item.step, chain, places))
            places.write_job_ids(ids)
            say(f"{name}: job {ids[name]}" + (f" after {', '.join(item.after)}" if item.after else ""))
        places.write_job_ids(ids)
    return submitted


def _standing(item: Item) -> str:
    if item.job is None:
        return f"{item.step.name}: complete"
    return f"{item.step.name}: job {item.job.id} is {item.job.state.lower()} already"


_STEP_LINE = re.compile(rb"step +(\d+)/(\d+)")
_TAIL = 1 << 16


def progress(log: Path) -> str:
    """ "step N/M" as a training job has said it last, or nothing."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - _TAIL))
            found = _STEP_LINE.findall(handle.read())
    except OSError:
        return ""
    return f"step {int(found[-1][0])}/{int(found[-1][1])}" if found else ""


def status(chain: ChainConfig, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """A row for each step: step, job, state, reason, elapsed, progress, log.

    Raises:
        UserError: Slurm does not answer.
    """
    places = Places.of(chain)
    queue.require()
    items, last = current(steps, places)
    ids, rows = places.job_ids(), []
    for item in items:
        name = item.step.name
        job = item.job or last.get(name)
        number = job.id if job is not None else ids.get(name, "")
        if item.state == "complete":
            state, reason = "complete", ""
        elif job is not None:
            state, reason = job.state.lower(), "" if job.reason == "None" else job.reason
        else:
            state, reason = ("ended, not complete" if number else "not submitted"), ""
        log = places.log(item.step, number)
        elapsed = job.elapsed if job is not None else ""
        rows.append(
            {
                "step": name,
                "job": number,
                "state": state,
                "reason": reason,
                "elapsed": elapsed,
                "progress": progress(log) if number else "",
                "log": str(log) if number else "",
            }
        )
    return rows
