from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import _ExecutorManagerThread
from pathlib import Path
from typing import Any

import pytest
from stage_examples import numbers_stage

from data_prep import executor


@pytest.mark.timeout(120)
def test_the_death_of_a_worker_that_the_pool_does_not_watch_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a task ended while the worker was being started."""
    (tmp_path / "a").write_text(f"1\nkill-once:{tmp_path}/flag\n")
    stage = numbers_stage(str(tmp_path / "out"), [str(tmp_path / "a")])
    seen = []
    lost_one, watch = executor._lost_one, _ExecutorManagerThread.wait_result_broken_or_wakeup

    def asked(pool: ProcessPoolExecutor) -> bool:
        found = lost_one(pool)
        seen.extend([True] * found)
        return found

    def blind(manager: Any) -> Any:
        processes, manager.processes = manager.processes, manager.processes if seen else {}
        try:
            return watch(manager)
        finally:
            manager.processes = processes

    monkeypatch.setattr(executor, "_lost_one", asked)
    monkeypatch.setattr(_ExecutorManagerThread, "wait_result_broken_or_wakeup", blind)
    step = executor.StageStep(stage, stage.plan())
    assert executor.LocalExecutor(step, [0], 1, str(tmp_path / "logs"), lambda ended: None).run() == {}
    assert (tmp_path / "flag").exists()
    assert seen


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_as_it_waits_for_work_keeps_nobody() -> None:
    """It holds the lock behind which the others wait."""
    pool = ProcessPoolExecutor(2, mp_context=executor.start_method())
    for task in [pool.submit(time.sleep, 0.5) for _ in range(2)]:
        task.result()
    workers = list(pool._processes.values())
    first, second = (int(worker.pid or 0) for worker in workers)
    for pid in (first, second):
        os.kill(pid, signal.SIGSTOP)  # so that the pool hears of no death before its end
    os.kill(first, signal.SIGKILL)
    os.kill(second, signal.SIGCONT)
    executor._close(pool)
    assert not any(worker.is_alive() for worker in workers)
