from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exit_codes import ExitCode
from pipeline.slurm.decide import (
    MAX_STOPS,
    REQUEUE,
    Attempt,
    Decision,
    Failure,
    decide,
    first_failure,
    may_begin,
    outcome_of,
)

KILLED = Failure("n2", None, "Killed")
SAID_KILLED = [
    "srun: error: n2: task 1: Killed",
    "srun: Terminating StepId=3.0",
    "srun: error: n1: task 0: Exited with exit code 1",
]


def ended(code: ExitCode, reason: str = "why") -> dict[str, Any]:
    return {"code": int(code), "name": code.name, "reason": reason, "step": 7, "time": 1.0}


def start(step: int = 0, **changes: Any) -> Attempt:
    return Attempt("12", "n[1-2]", 1.0, step, **changes)


def lost(step: int = 0, suspect: str | None = None) -> Attempt:
    return start(step, outcome="lost", suspect=suspect)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["srun: job 12 queued"], None),
        (SAID_KILLED, KILLED),
        (["srun: error: node17: task 3: Exited with exit code 2"], Failure("node17", 2, "Exited with exit code 2")),
        (["srun: error: n[1-2]: tasks 0-1: Exited with exit code 75"], Failure(None, 75, "Exited with exit code 75")),
        (["srun: error: n1: tasks 0,4-7: Terminated"], Failure("n1", None, "Terminated")),
        (["srun: error: Node failure on n2"], Failure("n2", None, "node failure")),
        # What the ranks that are left do comes first, and is no fault of their host.
        (
            ["srun: error: n1: task 0: Exited with exit code 1", "srun: error: Node failure on n2"],
            Failure("n2", None, "node failure"),
        ),
    ],
)
def test_the_first_failure_in_what_srun_says(lines: list[str], expected: Failure | None) -> None:
    assert first_failure(lines) == expected


@pytest.mark.parametrize(
    ("code", "signalled", "end", "failure", "outcome", "stops_with"),
    [
        (0, False, None, None, "finished", 0),
        (0, False, ended(ExitCode.FINISHED), None, "finished", 0),
        # An evaluation, or a run that was complete already, writes nothing; srun may end others with a signal.
        (0, True, None, None, "finished", 0),
        (143, True, ended(ExitCode.STOPPED), Failure("n1", 75, "Exited with exit code 75"), "stopped", 75),
        (138, True, None, Failure("n1", None, "User defined signal 1"), "stopped", 75),
        (76, False, ended(ExitCode.HUNG), None, "lost", 76),
        (137, False, None, KILLED, "lost", 137),
        (137, False, ended(ExitCode.DEFECT, "RuntimeError: Connection closed by peer"), KILLED, "lost", 137),
        # A rank that is killed makes the others fail in words of their own.
        (137, False, ended(ExitCode.DEFECT, "ValueError: no"), KILLED, "lost", 137),
        (1, False, None, Failure("n1", 1, "Exited with exit code 1"), "lost", 1),
        (REQUEUE, False, None, None, "lost", 1),
        (1, False, ended(ExitCode.DEFECT, "RuntimeError: [gloo/transport/tcp] timed out"), None, "lost", 1),
        (1, False, ended(ExitCode.DEFECT, "AcceleratorError: CUDA error: uncorrectable ECC"), None, "lost", 1),
        (1, False, ended(ExitCode.DEFECT, "KeyError: 'x'"), Failure("n1", 1, "Exited with 1"), "refused", 1),
        (143, False, None, Failure("n1", 2, "Exited with exit code 2"), "refused", 2),
        (2, False, ended(ExitCode.BAD_INPUT), None, "refused", 2),
        (3, True, ended(ExitCode.DIVERGED), None, "refused", 3),
        (143, False, ended(ExitCode.POISON_STEP), None, "refused", 4),
        (130, False, ended(ExitCode.INTERRUPTED), None, "refused", 130),
    ],
)
def test_how_a_start_ended(
    code: int, signalled: bool, end: dict[str, Any] | None, failure: Failure | None, outcome: str, stops_with: int
) -> None:
    assert outcome_of(code, signalled, end, failure, stop_file=False)[:2] == (outcome, stops_with)


def test_a_run_stopped_by_its_stop_file_stays_stopped() -> None:
    assert outcome_of(75, False, ended(ExitCode.STOPPED), None, stop_file=True)[:2] == ("refused", 75)
    decision = decide([start()], ("refused", 75, "stopped"), 8, None, 3)
    assert (decision.code, decision.line) == (75, "stopped; not requeued")


def after_loss(attempts: list[Attempt], step: int, suspect: str | None = None) -> Decision:
    return decide([*attempts, start(step)], ("lost", 137, "lost"), step, suspect, 3)


def test_the_third_failure_without_a_newer_checkpoint_stops() -> None:
    assert after_loss([], 4).code == REQUEUE
    assert after_loss([lost(4)], 4).code == REQUEUE
    decision = after_loss([lost(4), lost(4)], 4)
    assert (decision.outcome, decision.code) == ("lost", 137)
    assert "3 failures without a newer checkpoint: not requeued" in decision.line


def test_progress_and_stops_do_not_count_as_failures() -> None:
    assert after_loss([lost(0), lost(0), lost(4)], 4).code == REQUEUE
    assert after_loss([lost(4), start(4, outcome="stopped"), start(4)], 4).code == REQUEUE
    further = decide([lost(4), lost(4), start(4)], ("lost", 137, "lost"), 8, None, 3)
    assert (further.code, further.line) == (REQUEUE, "lost; it got further: to be requeued")


def test_a_host_named_twice_is_left_out() -> None:
    assert after_loss([lost(0, "n1")], 4, "n2").exclude == ()
    assert after_loss([lost(0, "n2")], 4, "n2").exclude == ("n2",)
    assert after_loss([lost(0, "n2"), lost(1, "n2")], 4, "n1").exclude == ("n2",)
    assert after_loss([lost(0), lost(0)], 4).exclude == ()


def test_stops_without_a_newer_checkpoint_end_somewhen() -> None:
    stops = [start(4, outcome="stopped")] * (MAX_STOPS - 1)
    ended_as = ("stopped", 75, "stopped")
    assert decide([*stops[1:], start(4)], ended_as, 4, None, 3).code == REQUEUE  # type: ignore[arg-type]
    assert decide([*stops, start(4)], ended_as, 4, None, 3).code == 75  # type: ignore[arg-type]
    assert decide([*stops, start(4)], ended_as, 5, None, 3).code == REQUEUE  # type: ignore[arg-type]


def test_starts_that_slurm_ends_itself_end_somewhen() -> None:
    """The batch script that would decide is gone with the job."""
    taken = [start(4)] * MAX_STOPS
    assert may_begin(taken[1:], 4) is None
    assert may_begin(taken, 5) is None
    assert may_begin(taken, 4) == f"{MAX_STOPS} starts in a row brought no newer checkpoint than that of step 4"


@given(st.lists(st.tuples(st.sampled_from(["lost", "stopped"]), st.integers(0, 2)), min_size=40, max_size=60))
def test_no_job_is_requeued_for_ever_without_a_newer_checkpoint(story: list[tuple[str, int]]) -> None:
    """Whatever its ends: between two newer checkpoints there are fewer than MAX_STOPS starts."""
    attempts: list[Attempt] = []
    step, since = 0, 0
    for outcome, gain in story:
        gain = gain // 2  # rarely
        attempts.append(start(step))
        step += gain
        decision = decide(attempts, (outcome, 75, ""), step, None, 3)  # type: ignore[arg-type]
        attempts[-1] = replace(attempts[-1], outcome=decision.outcome)
        since = 0 if gain else since + 1
        assert since <= MAX_STOPS
        if decision.code != REQUEUE or may_begin(attempts, step) is not None:
            return
