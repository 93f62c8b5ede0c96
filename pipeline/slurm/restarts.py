"""What is remembered of the starts of a job, in `slurm/restarts.json` of the run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from data_prep import store
from data_prep.errors import CorruptFile, UserError, to_write_in
from pipeline.checkpoint.store import CheckpointStore
from pipeline.exit_codes import read_ended
from pipeline.runs import CHECKPOINTS
from pipeline.slurm.decide import Attempt, Decision, decide, first_failure, may_begin, outcome_of
from pipeline.train.stopping import STOP_FILE

RESTARTS = "slurm/restarts.json"
_KEPT = 100


def _job(env: Mapping[str, str]) -> str:
    job = env.get("SLURM_JOB_ID")
    if job is None:
        raise UserError("SLURM_JOB_ID is not set", where="environment", fix="this is for batch scripts")
    return job


def read(run_dir: Path) -> list[Attempt]:
    """All starts that are remembered, the oldest first."""
    path = run_dir / RESTARTS
    if not path.exists():
        return []
    try:
        return [Attempt(**one) for one in store.read_json(str(path))]
    except TypeError:
        raise CorruptFile("not a list of starts; move it away", where=str(path)) from None


def _write(run_dir: Path, attempts: Sequence[Attempt]) -> None:
    path = run_dir / RESTARTS
    with to_write_in(str(run_dir)):
        path.parent.mkdir(parents=True, exist_ok=True)
    store.write_json(str(path), [asdict(one) for one in attempts[-_KEPT:]])


def newest_step(run_dir: Path) -> int:
    """Step of the newest checkpoint; 0 without one."""
    return max(CheckpointStore(run_dir / CHECKPOINTS, 1).steps(), default=0)


def begin(run_dir: Path, env: Mapping[str, str]) -> tuple[bool, str]:
    """Note that a start begins; returns whether it may, and a line for people.

    Args:
        run_dir: of the run.
        env: environment variables of the batch script.

    Raises:
        UserError: not inside a Slurm job, or the file of starts is damaged or cannot be written.
    """
    job, nodes, step = _job(env), env.get("SLURM_JOB_NODELIST", "?"), newest_step(run_dir)
    known = read(run_dir)
    mine = [one for one in known if one.job == job]
    left = f"; the start before on {mine[-1].nodes} was ended by Slurm" if mine and mine[-1].outcome is None else ""
    refusal = may_begin(mine, step)
    if refusal is not None:
        return False, f"not started: {refusal}"
    _write(run_dir, [*known, Attempt(job, nodes, time.time(), step)])
    at = f"from the checkpoint of step {step}" if step else "from its beginning"
    return True, f"start {1 + len(mine)} of {run_dir.name} {at}{left}"


def end(
    run_dir: Path, env: Mapping[str, str], code: int, signalled: bool, srun_errors: Sequence[str], max_failures: int
) -> Decision:
    """Decide what becomes of the job, and note it.

    Args:
        run_dir: of the run.
        env: environment variables of the batch script.
        code: exit code of srun.
        signalled: whether the job was asked to stop.
        srun_errors: what srun said about tasks that failed.
        max_failures: as in `decide`.

    Raises:
        UserError: not inside a Slurm job, or `begin` was not called, or the file of starts is damaged.
    """
    job, known = _job(env), read(run_dir)
    mine = [one for one in known if one.job == job]
    if not mine or mine[-1].outcome is not None:
        raise UserError("no start is noted", where=str(run_dir / RESTARTS), fix="call `launch/requeue.py begin` first")
    ended = read_ended(run_dir)
    if ended is not None and ended["time"] < mine[-1].began:
        ended = None  # an earlier start's
    failure = first_failure(srun_errors)
    ended_as = outcome_of(code, signalled, ended, failure, (run_dir / STOP_FILE).exists())
    suspect = failure.host if failure is not None and ended_as[0] == "lost" else None
    decision = decide(mine, ended_as, newest_step(run_dir), suspect, max_failures)
    last = replace(mine[-1], outcome=decision.outcome, line=decision.line, suspect=suspect)
    _write(run_dir, [last if one is mine[-1] else one for one in known])
    return decision
