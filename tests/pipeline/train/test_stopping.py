from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from data_prep.errors import UserError
from pipeline.config.health import HealthConfig
from pipeline.train import stopping
from pipeline.train.stopping import REASONS, STOP_FILE, StopRequests, check_no_stop_file, deadline


@pytest.mark.parametrize(
    ("budget", "env", "expected"),
    [
        (None, {}, None),
        (10, {}, 1600.0),
        (None, {"SLURM_JOB_END_TIME": "5000"}, 4700.0),
        (10, {"SLURM_JOB_END_TIME": "5000"}, 1600.0),
        (100, {"SLURM_JOB_END_TIME": "5000"}, 4700.0),
        (None, {"SLURM_JOB_END_TIME": "unknown"}, None),
    ],
)
def test_the_deadline_is_the_earliest_end(budget: float | None, env: dict[str, str], expected: float | None) -> None:
    assert deadline(HealthConfig(time_budget_minutes=budget), env, 1000.0) == expected


def test_a_job_that_leaves_no_time_before_its_margin_is_refused() -> None:
    """Else each of its starts would do one step."""
    expected = r"^health.stop_margin_minutes: the job ends in 3.0 minutes, and the run 5 minutes before; give the"
    with pytest.raises(UserError, match=expected):
        deadline(HealthConfig(), {"SLURM_JOB_END_TIME": "1180"}, 1000.0)
    assert deadline(HealthConfig(stop_margin_minutes=1), {"SLURM_JOB_END_TIME": "1180"}, 1000.0) == 1120.0


def asked(requests: StopRequests) -> list[str]:
    return [reason for reason, flag in zip(REASONS, requests.flags(), strict=True) if flag]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_is_noted_and_stays(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequests(tmp_path, None, looks=False) as requests:
        assert asked(requests) == []
        os.kill(os.getpid(), number)
        assert asked(requests) == [number.name]
        assert asked(requests) == [number.name]
    assert signal.getsignal(number) is before


def test_the_second_interrupt_is_immediate_but_not_the_same_one_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    with StopRequests(tmp_path, None, looks=False) as requests:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert asked(requests) == ["SIGINT"]
        now[0] += 3
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_file_and_clock_are_looked_at_by_one_and_not_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(stopping.time, "time", lambda: now[0])
    looking, other = StopRequests(tmp_path, 1005.0, looks=True), StopRequests(tmp_path, 0.0, looks=False)
    assert asked(looking) == asked(other) == []
    (tmp_path / STOP_FILE).touch()
    assert asked(looking) == []
    now[0] = 1002.0
    assert asked(looking) == ["stop file"]
    now[0] = 1005.0
    assert asked(looking) == ["stop file", "time budget"]
    assert asked(other) == []


def test_a_run_that_is_to_stop_does_not_begin(tmp_path: Path) -> None:
    check_no_stop_file(tmp_path)
    (tmp_path / STOP_FILE).touch()
    with pytest.raises(UserError, match="remove it to go on"):
        check_no_stop_file(tmp_path)
