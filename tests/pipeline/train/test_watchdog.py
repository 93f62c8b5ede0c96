from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import pytest
from harness import outcomes

from pipeline.config.health import HealthConfig
from pipeline.exit_codes import ExitCode, read_ended
from pipeline.train.watchdog import MARK, STACKS, Watchdog, step_bound

SECOND = 1 / 60


def bounds(**changes: float) -> HealthConfig:
    return HealthConfig.model_validate(changes)


@pytest.mark.parametrize(
    ("durations", "bound"),
    [([], 3600.0), ([1.0], 300.0), ([100.0, 100.0, 5000.0], 1000.0), ([20.0, 40.0], 300.0), ([31.0], 310.0)],
)
def test_a_step_has_many_median_steps_and_never_less_than_the_minimum(durations: list[float], bound: float) -> None:
    assert step_bound(HealthConfig(), deque(durations)) == bound


def _phase(run_dir: Path) -> None:
    """A step that takes no time, then a phase that hangs."""
    config = bounds(hang_minutes=60, hang_phase_minutes=3 * SECOND)
    with Watchdog(run_dir, 0, config, period=0.1) as watchdog:
        watchdog.before_exit = (run_dir / "called").touch
        watchdog.step(1)
        with watchdog.phase("validation"):
            time.sleep(0.1)
        watchdog.step(2)
        watchdog.step(3)
        with watchdog.phase("validation"):
            time.sleep(60)


def test_a_phase_has_a_bound_of_its_own(tmp_path: Path) -> None:
    (one,) = outcomes(1, _phase, tmp_path)
    assert one.exit_code == ExitCode.HUNG
    ended = read_ended(tmp_path)
    assert ended is not None
    assert (ended["code"], ended["step"]) == (76, 3)
    assert ended["reason"].endswith("validation has not ended within 3 s")
    assert "in _phase" in (tmp_path / STACKS / "rank_0.txt").read_text()
    assert "in _phase" in one.output
    assert (tmp_path / "called").exists()


def _elsewhere(run_dir: Path) -> None:
    """This rank is well; another one is not."""
    with Watchdog(run_dir, 1, bounds(), period=0.1) as watchdog:
        watchdog.step(1)
        (run_dir / STACKS).mkdir()
        (run_dir / STACKS / MARK).touch()
        time.sleep(60)


def test_a_rank_that_is_well_tells_its_stacks_when_another_hangs(tmp_path: Path) -> None:
    (one,) = outcomes(1, _elsewhere, tmp_path)
    assert one.exit_code == ExitCode.HUNG
    assert "another rank hangs; here it is step 1" in (tmp_path / STACKS / "rank_1.txt").read_text()
    assert read_ended(tmp_path) is None  # the other one says why


def _stopped(run_dir: Path) -> str:
    """The whole process stands still for longer than a step may take."""
    config = bounds(hang_minutes=2 * SECOND, hang_phase_minutes=2 * SECOND)
    with Watchdog(run_dir, 0, config, period=0.1) as watchdog:
        watchdog.step(1)
        wake = f"import os, time; time.sleep(5); os.kill({os.getpid()}, {int(signal.SIGCONT)})"
        helper = subprocess.Popen([sys.executable, "-c", wake])
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.5)
        watchdog.step(2)
        helper.wait()
    return "alive"


def test_a_process_that_was_stopped_has_its_time_again(tmp_path: Path) -> None:
    (one,) = outcomes(1, _stopped, tmp_path)
    assert one.value == "alive"


def test_the_thread_ends_with_the_block_and_a_mark_of_old_goes(tmp_path: Path) -> None:
    (tmp_path / STACKS).mkdir()
    (tmp_path / STACKS / MARK).touch()
    with Watchdog(tmp_path, 0, bounds(), period=0.01) as watchdog:
        watchdog.step(1)
        assert not (tmp_path / STACKS / MARK).exists()
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]
