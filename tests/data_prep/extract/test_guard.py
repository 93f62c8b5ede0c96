from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hostile import make_hostile, make_nothing

from data_prep.extract.guard import CRASHED, MEMORY, TIMEOUT, Died, Guard, Limits

LIMITS = Limits(seconds=0.5, memory=256 << 20, calls=1000)


@pytest.fixture
def guard() -> Iterator[Guard[object]]:
    with Guard(make_hostile, LIMITS) as guarded:
        yield guarded


def test_one_child_answers_many_calls(guard: Guard[object]) -> None:
    pids = {guard("pid") for _ in range(5)}
    assert len(pids) == 1
    assert pids != {os.getpid()}


@pytest.mark.parametrize(
    ("what", "how", "detail"),
    [
        ("loop", TIMEOUT, "more than 0.5 s of processor time"),
        ("loop in C", TIMEOUT, "more than 0.5 s of processor time"),
        ("eat", MEMORY, "more than 256 MiB"),
        ("kill", CRASHED, "SIGKILL"),
        ("abort", CRASHED, "SIGABRT"),
        ("exit", CRASHED, "exit code 3"),
    ],
)
def test_a_bad_input_costs_only_itself(guard: Guard[object], what: str, how: str, detail: str) -> None:
    assert guard("a") == "a"
    assert guard(what) == Died(how, detail)
    assert guard("b") == "b"


def test_a_child_that_sleeps_is_given_up() -> None:
    with Guard(make_hostile, Limits(0.05, LIMITS.memory, 10)) as guard:
        assert guard("sleep") == Died(TIMEOUT, "it waits for something")
        assert guard("a") == "a"


def test_time_that_others_use_does_not_count() -> None:
    """A stopped child takes long by the clock, but no processor time."""
    with Guard(make_hostile, LIMITS) as guard:
        pid = guard("pid")
        assert isinstance(pid, int)
        helper = subprocess.Popen(
            [sys.executable, "-c", f"import os, time; os.kill({pid}, 19); time.sleep(1); os.kill({pid}, 18)"]
        )
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        assert guard("pid") == pid
        helper.wait()


def test_a_child_that_the_machine_killed_is_replaced_and_the_call_repeated(tmp_path: Path) -> None:
    with Guard(make_hostile, LIMITS) as guard:
        assert guard("a") == "a"
        assert guard("kill once", str(tmp_path / "marker")) == "kill once"


def test_what_earlier_calls_left_does_not_count_against_a_later_one(guard: Guard[object]) -> None:
    pid = guard("pid")
    assert guard("keep", 200 << 20) == "keep"
    assert guard("hold", 100 << 20) == 100 << 20
    assert guard("pid") != pid
    assert guard("hold", 400 << 20) == Died(MEMORY, "more than 256 MiB")


def test_a_child_that_keeps_too_much_is_replaced(guard: Guard[object]) -> None:
    pid = guard("pid")
    for _ in range(10):
        assert guard("keep", 40 << 20) == "keep"
    assert [guard("pid") for _ in range(60)][-1] != pid


def test_child_is_replaced_after_its_calls() -> None:
    with Guard(make_hostile, Limits(1, LIMITS.memory, 3)) as guard:
        assert [guard("calls") for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]


def test_an_exception_is_raised_here_and_the_child_lives_on(guard: Guard[object]) -> None:
    pid = guard("pid")
    with pytest.raises(RuntimeError, match="ValueError: an odd page"):
        guard("raise")
    assert guard("pid") == pid


def test_a_function_that_cannot_be_made_is_an_error() -> None:
    with Guard(make_nothing, LIMITS) as guard, pytest.raises(RuntimeError, match="ended at its start, exit code 1"):
        guard("a")


def test_close_ends_the_child_and_a_call_starts_another(guard: Guard[object]) -> None:
    pid = guard("pid")
    guard.close()
    guard.close()
    assert isinstance(pid, int)
    assert not psutil.pid_exists(pid)
    assert guard("pid") != pid


PARENT = """
import sys
from hostile import make_hostile
from data_prep.extract.guard import Guard, Limits
if __name__ == "__main__":
    guard = Guard(make_hostile, Limits(3600, 1 << 30, 10))
    print(guard("pid"), flush=True)
    guard({what!r})
"""


@pytest.mark.parametrize("what", ["sleep", "loop"])
def test_no_child_outlives_a_killed_parent(what: str) -> None:
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(what=what)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.2)
        parent.send_signal(signal.SIGKILL)
        try:
            child.wait(timeout=60)
        except psutil.TimeoutExpired:
            child.kill()
            raise
