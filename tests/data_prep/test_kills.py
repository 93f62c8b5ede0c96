"""kill -9 of workers and of the run itself at random moments of the whole chain: at the end the same bytes.

A helper process imports everything once, starts the server from which workers are forked, and forks a run at each
line on its stdin: a run starts in milliseconds and is otherwise that of `data-prep run`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import IO

import pytest
import small_web
import test_chain

from data_prep import chain, configfile, executor, runner
from data_prep.config import DataConfig

MOST_ROOTS, KILLS_PER_ROOT, LANDED = 6, 12, 20
"""Corpora are made until so many kills have landed: one whose moment comes after the end of its run does not count."""


def answering_server(context: BaseContext) -> int:
    """The process of a server that forks workers; a new one where the old one has died.

    It dies of a run that is killed between reaching it and telling it what to fork. A run of `data-prep` has a server
    of its own, and takes nobody's with it.
    """
    while True:
        forkserver.ensure_running()
        probe = context.Process(target=int)  # type: ignore[attr-defined]
        try:
            probe.start()
        except (OSError, EOFError):
            time.sleep(0.01)
            continue
        probe.join()
        return int(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]


def serve() -> None:
    """The helper: for a line `WORKERS CONFIG OVERRIDE...` prints the server's process, the run's, then its status."""
    context = executor.start_method()
    for line in sys.stdin:
        workers, config, *overrides = line.split()
        print(answering_server(context), flush=True)
        pid = os.fork()
        if pid == 0:
            faulthandler.register(signal.SIGUSR1)
            forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]  # it is not its child
            code = 1
            try:
                settings = configfile.load(config, DataConfig, overrides)
                chain.Chain(settings, int(workers), say=lambda line: None).run()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


class Runs:
    """Runs of the small chain in the helper process."""

    def __init__(self, helper: subprocess.Popen[str]) -> None:
        assert helper.stdin is not None and helper.stdout is not None
        self._in: IO[str] = helper.stdin
        self._out: IO[str] = helper.stdout
        self._server = self.last = 0

    def start(self, arguments: list[str], workers: int = 2) -> int:
        """Start a run; returns its process."""
        print(workers, *arguments, file=self._in, flush=True)
        self._server = int(self._out.readline())
        self.last = int(self._out.readline())
        return self.last

    def status(self) -> int:
        """Wait for the end of the run, and of its workers."""
        status = int(self._out.readline())
        while self.workers():
            time.sleep(0.005)
        return status

    def workers(self) -> list[int]:
        """Processes that do tasks."""
        return [int(pid) for pid in Path(f"/proc/{self._server}/task/{self._server}/children").read_text().split()]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    here = Path(__file__).parent
    errors = tmp_path / "errors"
    helper = subprocess.Popen(
        [sys.executable, "-c", "import test_kills; test_kills.serve()"],
        env={**os.environ, "PYTHONPATH": f"{here.parents[1]}:{here.parent}:{here}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors.open("w"),
        text=True,
    )
    with helper:
        found = Runs(helper)
        yield found
        if found.last and is_running(found.last):  # it hangs: where?
            os.kill(found.last, signal.SIGUSR1)
            time.sleep(1)
        helper.kill()
    print(errors.read_text()[-4000:])


def run_backwards(stage, tasks, todo, complete, workers, executor):  # type: ignore[no-untyped-def]
    test_chain.run_here(stage, tasks, list(reversed(todo)), complete, workers, executor)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def starts_of(root: Path, start: float) -> dict[str, float]:
    """Stage -> seconds after `start` (unix time) at which its plan was stored."""
    return {path.parent.name: path.stat().st_mtime - start for path in root.glob(f"*/{runner.PLAN_FILE}")}


def wait_for(moment: float, starts: dict[str, float], root: Path, pid: int) -> bool:
    """Wait until a run is where an unhindered one was at a moment: so long in that stage. False if it ends first."""
    begun = [name for name in starts if starts[name] <= moment]
    stage = max(begun, key=lambda name: starts[name], default=None)
    while stage is not None and not (root / stage / runner.PLAN_FILE).exists() and is_running(pid):
        time.sleep(0.001)
    until = time.monotonic() + moment - (starts[stage] if stage else 0.0)
    while time.monotonic() < until and is_running(pid):
        time.sleep(0.001)
    return is_running(pid)


def kill_a_worker(runs: Runs, pid: int, draw: random.Random) -> bool:
    """Kill one of the workers, or the first that there is; False if the run ends before."""
    while is_running(pid):
        with contextlib.suppress(ProcessLookupError):
            if victims := runs.workers():
                os.kill(draw.choice(victims), signal.SIGKILL)
                return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(900)  # on two busy cores
def test_the_same_bytes_for_any_workers_order_and_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs
) -> None:
    web = small_web.make(tmp_path / "web")

    def arguments(name: str) -> list[str]:
        (tmp_path / name).mkdir()
        return test_chain.arguments(tmp_path / name, web)

    # The reference is made here, each stage's tasks from last to first; the others by worker processes.
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_run_tasks", run_backwards)
        path, *overrides = arguments("backwards")
        chain.Chain(configfile.load(path, DataConfig, overrides), 1, say=lambda line: None).run()
    expected = test_chain.hashes(tmp_path / "backwards/root")
    assert len(expected) > 50

    for workers in (1, 2):
        given, root = arguments(f"workers-{workers}"), tmp_path / f"workers-{workers}/root"
        start = time.time()
        runs.start(given, workers)
        assert runs.status() == 0
        took, starts = time.time() - start, starts_of(root, start)
        assert test_chain.hashes(root) == expected

    draw = random.Random(20)
    landed = {"worker": 0, "run": 0}
    for number in range(MOST_ROOTS):
        if sum(landed.values()) >= LANDED:
            break
        given, root = arguments(f"killed-{number}"), tmp_path / f"killed-{number}/root"
        # In turn: a task whose worker is killed time after time in one run is rightly reported.
        kinds = (["worker", "run"] if number % 2 else ["run", "worker"]) * (KILLS_PER_ROOT // 2)
        pid = runs.start(given)
        for kind, moment in zip(kinds, sorted(draw.uniform(0, took) for _ in kinds), strict=True):
            if not wait_for(moment, starts, root, pid):
                break
            if kind == "worker":
                landed[kind] += kill_a_worker(runs, pid, draw)
            else:
                os.kill(pid, signal.SIGKILL)
                assert runs.status() == signal.SIGKILL
                landed[kind] += 1
                pid = runs.start(given)
        assert runs.status() == 0
        assert test_chain.hashes(root) == expected
    assert sum(landed.values()) >= LANDED, landed
    assert min(landed.values()) >= LANDED // 4, landed
