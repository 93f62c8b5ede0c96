"""Slurm's commands for a chain of jobs: what is queued, and how a job is submitted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_prep.errors import UserError

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
ENDED |= {"BOOT_FAIL", "DEADLINE", "PREEMPTED", "REVOKED"}
NEVER = "DependencyNeverSatisfied"


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it.

    Attributes:
        id: of the job.
        state: Slurm's long form, such as "PENDING".
        reason: why it waits, or why it failed.
        elapsed: time that it has run, in Slurm's form.
        comment: given when it was submitted.
    """

    id: str
    state: str
    reason: str
    elapsed: str
    comment: str

    @property
    def has_ended(self) -> bool:
        """Whether it will do no more: over, or waiting for a job that failed."""
        return self.state in ENDED or self.reason == NEVER


def require() -> None:
    """Raise `UserError` unless Slurm's commands are here."""
    if shutil.which("sbatch") is None or shutil.which("squeue") is None:
        raise UserError("Slurm is not installed here", where="launch/submit.py", fix="run it on a login node")


def jobs_commented(prefix: str) -> list[Job]:
    """This user's jobs whose comment begins so, as far as Slurm still knows them, the oldest first.

    Raises:
        UserError: Slurm does not answer.
    """
    command = ["squeue", "--me", "--noheader", "--states=all", "--format=%A|%T|%r|%M|%k"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise UserError(
            f"Slurm does not answer ({asked.stderr.strip()})", where="squeue", fix="look at `scontrol ping`"
        )
    rows = [line.strip().split("|", 4) for line in asked.stdout.splitlines() if line.count("|") >= 4]
    found = [Job(*row) for row in rows]
    return sorted((job for job in found if job.comment.startswith(prefix)), key=lambda job: int(job.id))


def submit(step: str, command: Sequence[str], env: Mapping[str, str]) -> str:
    """Submit a job; returns its id.

    Args:
        step: what it does, for people.
        command: `sbatch` with its arguments.
        env: environment variables beside those of this process.

    Raises:
        UserError: sbatch refuses it.
    """
    # Inside a job (a notebook on a node, say) the variables of that job would rule the new one.
    outer = {name: value for name, value in os.environ.items() if not re.match(r"SLURM_(?!CONF$)", name)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**outer, **env})
    if done.returncode:
        said = "; ".join(line.removeprefix("sbatch: error: ") for line in done.stderr.strip().splitlines())
        raise UserError(
            f"sbatch refuses the job: {said}",
            where=f"step {step}",
            fix="change the section `slurm:`; --dry-run shows the line",
        )
    return done.stdout.strip().partition(";")[0]


def cancel(job: str) -> None:
    """Cancel a job that can never start."""
    subprocess.run(["scancel", job], capture_output=True, check=False)
