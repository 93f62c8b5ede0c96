"""Whether a training job is started again after its ranks have ended, and where: pure logic.

A job keeps its id when Slurm requeues it; what is counted here is counted within one job, so that a new submission by
hand begins anew.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.exit_codes import MEANING, ExitCode

REQUEUE = 10
"""Exit code of `launch/requeue.py` that asks for a requeue."""
MAX_FAILURES = 3
MAX_STOPS = 10
"""Stops in a row behind which no newer checkpoint lies, as when a job's time is over before its first step."""
BLAMED = 2
"""Failures that name a host, after which the job does without it."""
_SHOWN = 160
"""Characters of a run's own reason."""
_FINAL = (ExitCode.BAD_INPUT, ExitCode.DIVERGED, ExitCode.POISON_STEP, ExitCode.INTERRUPTED)
# What the ranks that are left say when one is gone or the network is cut, and what broken hardware says.
_ELSEWHERE = re.compile(
    r"gloo|nccl|connect|socket|peer|timed out|timeout|broken pipe|cuda error|\becc\b|input/output error|stale file",
    re.IGNORECASE,
)
_TASK = re.compile(r"^srun: error: (?P<hosts>\S+): tasks? [\d,-]+: (?P<how>.*)$")
_NODE = re.compile(r"^srun: error: Node failure on (?P<hosts>\S+)")
_EXITED = re.compile(r"^Exited with exit code (\d+)$")

Outcome = Literal["finished", "stopped", "lost", "refused"]


@dataclass(frozen=True)
class Attempt:
    """One start of a job.

    Attributes:
        job: Slurm's job id.
        nodes: where it ran, as Slurm writes it.
        began: unix time.
        step: of the newest checkpoint when it began; 0 without one.
        outcome: how it ended; None while it runs, or if Slurm ended the whole job.
        line: the same for people.
        suspect: the host on which the first task failed, if it was one.
    """

    job: str
    nodes: str
    began: float
    step: int
    outcome: Outcome | None = None
    line: str = ""
    suspect: str | None = None


@dataclass(frozen=True)
class Failure:
    """The first task that failed, as srun tells it.

    Attributes:
        host: where; None if tasks of several hosts failed at once.
        code: its exit code; None if a signal or Slurm ended it.
        how: srun's words.
    """

    host: str | None
    code: int | None
    how: str


@dataclass(frozen=True)
class Decision:
    """What becomes of a job.

    Attributes:
        outcome: how this start ended.
        code: exit code: 0 finished, `REQUEUE`, else that with which the job stops.
        line: for people.
        exclude: hosts to do without from now on.
    """

    outcome: Outcome
    code: int
    line: str
    exclude: tuple[str, ...] = ()


def first_failure(lines: Sequence[str]) -> Failure | None:
    """What srun said first about a lost node, else about a task that failed: those that it ends for that come later."""
    for pattern in (_NODE, _TASK):
        for match in filter(None, (pattern.match(line.strip()) for line in lines)):
            how = match.groupdict().get("how") or "node failure"
            exited = _EXITED.match(how)
            host = match["hosts"] if not re.search(r"[\[,]", match["hosts"]) else None
            return Failure(host, int(exited[1]) if exited else None, how)
    return None


def outcome_of(
    code: int, signalled: bool, ended: Mapping[str, Any] | None, failure: Failure | None, stop_file: bool
) -> tuple[Outcome, int, str]:
    """(how a start ended, exit code if the job stops now, words for it).

    Args:
        code: of srun, which may be that of a task which srun itself ended.
        signalled: whether the job was asked to stop.
        ended: what this start wrote to `ended.json`; None if it came to nothing of the kind.
        failure: of `first_failure`.
        stop_file: whether the run was told to stop by its stop file, and not to begin again.
    """
    if ended is not None:
        end, reason = ended["code"], textwrap.shorten(str(ended["reason"]), _SHOWN)
        words = f"{MEANING.get(end, end)}: {reason}"
        if end == ExitCode.FINISHED:
            return "finished", 0, MEANING[ExitCode.FINISHED]
        if end == ExitCode.STOPPED:
            return ("refused" if stop_file else "stopped"), end, reason
        if end == ExitCode.HUNG:
            return "lost", end, words
        if end in _FINAL:
            return "refused", end, words
        if (failure is None or failure.code is not None) and not _ELSEWHERE.search(reason):
            return "refused", end, f"a defect of the program: {reason}"
    task = failure.code if failure is not None and failure.code is not None else code
    where = f" on {failure.host}" if failure is not None and failure.host else ""
    how = f"{failure.how}{where}" if failure is not None else f"srun ended with exit code {code}"
    if ended is None:
        if code == 0:
            return "finished", 0, MEANING[ExitCode.FINISHED]
        if signalled:
            return "stopped", ExitCode.STOPPED, "stopped before its first step"
        if task in _FINAL:
            return "refused", task, MEANING[ExitCode(task)]
    stops = code if code not in (0, REQUEUE) else int(ExitCode.DEFECT)
    return "lost", stops, f"a rank or node was lost: {how}" + (f" ({reason})" if ended is not None else "")


def in_a_row(attempts: Sequence[Attempt], step: int) -> list[Attempt]:
    """The last attempts that began at a checkpoint no older than the one of `step`: they brought nothing newer."""
    found: list[Attempt] = []
    for one in reversed(attempts):
        if one.step < step:
            break
        found.append(one)
    return found


def may_begin(attempts: Sequence[Attempt], step: int) -> str | None:
    """Why a job should not begin once more; None if it may.

    Args:
        attempts: of this job so far, all of them over.
        step: of the newest checkpoint.
    """
    fruitless = in_a_row(attempts, step)
    if len(fruitless) < MAX_STOPS:
        return None
    return f"{len(fruitless)} starts in a row brought no newer checkpoint than that of step {step}"


def decide(
    attempts: Sequence[Attempt], ended_as: tuple[Outcome, int, str], step: int, suspect: str | None, max_failures: int
) -> Decision:
    """What becomes of a job whose ranks have ended.

    Args:
        attempts: of this job so far, the last one being that which has just ended.
        ended_as: of `outcome_of`.
        step: of the newest checkpoint.
        suspect: the host that failed first.
        max_failures: failures in a row, without a newer checkpoint in between, after which the job stops.
    """
    outcome, code, words = ended_as
    if outcome in ("finished", "refused"):
        return Decision(outcome, code, words if outcome == "finished" else f"{words}; not requeued")
    row = in_a_row(attempts, step)  # empty if this start brought a newer checkpoint
    if outcome == "stopped":
        if len(row) >= MAX_STOPS:
            fruitless = f"{len(row)} starts in a row brought no newer checkpoint"
            return Decision(outcome, code, f"{words}; {fruitless}: not requeued")
        return Decision(outcome, REQUEUE, f"{words}; to be requeued")
    failures = 1 + sum(one.outcome == "lost" for one in row[1:]) if row else 0
    if failures >= max_failures:
        return Decision(outcome, code, f"{words}; {failures} failures without a newer checkpoint: not requeued")
    named = Counter(one.suspect for one in attempts[:-1] if one.suspect is not None)
    if suspect is not None:
        named[suspect] += 1
    exclude = tuple(sorted(host for host, count in named.items() if count >= BLAMED))
    counted = f"failure {failures} of at most {max_failures} without a newer checkpoint" if row else "it got further"
    without = f", without {','.join(exclude)}" if exclude else ""
    return Decision(outcome, REQUEUE, f"{words}; {counted}: to be requeued{without}", exclude)
