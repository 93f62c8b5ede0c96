"""A function run in a child process, so that an input that hangs, crashes or eats memory costs only itself.

The child lives for many calls and is fed over a pipe, one call at a time. Its limits hold also inside a C library that
never comes back. Time: ITIMER_PROF, by which the kernel ends the child when one call has used so much processor time.
Processor time, not time of the clock, decides, so that a busy machine gives the same answers. Memory: this process
looks at the child while it waits and ends it. Refusing the memory (RLIMIT_AS) would not do, because libraries answer a
failed allocation with an empty result as if the page were empty; it only stops what grows too fast to be seen.

Both limits are facts of a machine too: its speed, its allocator. They belong far above what any honest input takes, or
the same input may give another answer elsewhere.

The death of a child may be the machine's doing (the out-of-memory killer, an operator), or that of what earlier calls
left: other than by the timer, it counts only if a fresh child dies of the same input.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import psutil

from data_prep.executor import start_method

R = TypeVar("R")

TIMEOUT, MEMORY, CRASHED = "timeout", "memory", "crashed"
_LOOK_SECONDS = 0.05
_LOOK_CALLS = 50
_IDLE_LIMITS = 3
"""A child that waits for something is given up after this many times its limit of the clock without processor time."""
_HARD_FACTOR = 4
"""The kernel refuses address space beyond this many times the memory limit."""


@dataclass(frozen=True)
class Limits:
    """What one call may use.

    Attributes:
        seconds: processor time of one call.
        memory: bytes of resident memory beyond what the child has at its start.
        calls: calls after which the child is replaced, which bounds what leaks and caches may hold.
    """

    seconds: float
    memory: int
    calls: int


@dataclass(frozen=True)
class Died:
    """Why a call gave no result.

    Attributes:
        how: TIMEOUT, MEMORY or CRASHED.
        detail: signal or exit code, for people.
    """

    how: str
    detail: str


class _Lost(Exception):
    """The child is gone; `why` if it was ended from here."""

    def __init__(self, why: Died | None = None) -> None:
        super().__init__()
        self.why = why


@dataclass
class _Child:
    """A running child.

    Attributes:
        pipe: to it.
        process: as its parent knows it.
        watched: as the system knows it.
        resident: bytes it had at its start.
    """

    pipe: Connection
    process: BaseProcess
    watched: psutil.Process
    resident: int
    calls: int = 0


class Guard(Generic[R]):
    """Calls a function in a child process. Use as a context manager, or call `close`.

    The child ends with this process, however that ends.

    Args:
        make: makes the function, in the child; both this and the arguments of calls travel by pickle.
        limits: of one call.
    """

    def __init__(self, make: Callable[[], Callable[..., R]], limits: Limits) -> None:
        self._make, self._limits = make, limits
        self._child: _Child | None = None

    def __call__(self, *args: Any) -> R | Died:
        """The function's result, or how its process died.

        Raises:
            RuntimeError: the function raised (the message names its error), or could not be made.
        """
        while True:
            fresh = self._child is None
            try:
                result = self._call(args)
            except _Lost as lost:
                death = self._bury(lost)
                if fresh or death.how == TIMEOUT:
                    return death
                continue
            if isinstance(result, BaseException):
                raise result
            return result

    def _call(self, args: tuple[Any, ...]) -> R | BaseException:
        child = self._child = self._child or self._start()
        child.calls += 1
        try:
            child.pipe.send(args)
            self._wait(child)
            answer: R | BaseException = child.pipe.recv()
        except (EOFError, ConnectionError):
            raise _Lost from None
        if isinstance(answer, MemoryError):
            raise _Lost(self._too_much())
        if child.calls >= self._limits.calls or (child.calls % _LOOK_CALLS == 0 and self._grown(child)):
            self.close()
        return answer

    def _wait(self, child: _Child) -> None:
        """Wait for an answer or the child's end; end it if it takes too much memory, or sleeps."""
        used, since = -1.0, time.monotonic()
        while not child.pipe.poll(_LOOK_SECONDS):
            try:
                times, grown = child.watched.cpu_times(), self._grown(child)
            except psutil.NoSuchProcess:
                raise _Lost from None
            if grown:
                raise _Lost(self._too_much())
            if times.user + times.system > used:
                used, since = times.user + times.system, time.monotonic()
            elif time.monotonic() - since > _IDLE_LIMITS * self._limits.seconds:
                raise _Lost(Died(TIMEOUT, "it waits for something"))

    def _grown(self, child: _Child) -> bool:
        """Whether a child has more memory than it may; one that kept so much between calls is replaced."""
        resident: int = child.watched.memory_info().rss
        return resident - child.resident > self._limits.memory

    def _too_much(self) -> Died:
        return Died(MEMORY, f"more than {self._limits.memory / 2**20:,.0f} MiB")

    def _start(self) -> _Child:
        # To the kernel, its parent is the fork server; it watches this process by a pipe.
        context = start_method([getattr(self._make, "func", self._make).__module__])  # `make` may be a partial
        pipe, theirs = context.Pipe()
        process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, self._make, self._limits), name="guarded", daemon=True
        )
        process.start()
        theirs.close()
        try:
            resident: int = pipe.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"the guarded process ended at its start, exit code {process.exitcode}") from None
        return _Child(pipe, process, psutil.Process(process.pid), resident)

    def _bury(self, lost: _Lost) -> Died:
        """How the child ended; makes room for the next."""
        assert self._child is not None
        process = self._child.process
        if lost.why is not None:
            self.close()
            return lost.why
        process.join()
        code = process.exitcode or 0
        self.close()
        if -code == signal.SIGPROF:
            return Died(TIMEOUT, f"more than {self._limits.seconds:g} s of processor time")
        return Died(CRASHED, signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def close(self) -> None:
        """End the child; the next call starts another."""
        if self._child is not None:
            self._child.pipe.close()
            self._child.process.kill()
            self._child.process.join()
            self._child.process.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, make: Callable[[], Callable[..., R]], limits: Limits) -> None:
    """The child: answer calls until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _end_with_parent()
    _be_first_to_go()
    function = make()
    memory = psutil.Process().memory_info()
    _refuse_beyond(memory.vms + _HARD_FACTOR * limits.memory)
    pipe.send(memory.rss)
    while True:
        try:
            args = pipe.recv()
        except (EOFError, ConnectionError):
            return
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)
        answer: R | BaseException
        try:
            answer = function(*args)
        except BaseException as error:  # a panic of Rust code is no `Exception`
            answer = _sendable(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        try:
            pipe.send(answer)
        except MemoryError as error:
            pipe.send(_sendable(error))
        del args, answer


def _sendable(error: BaseException) -> BaseException:
    """The error without its traceback, as a type that the parent has."""
    if isinstance(error, MemoryError):
        return MemoryError()
    return RuntimeError(f"{type(error).__name__}: {error}"[:200])


def _end_with_parent() -> None:
    """End at once when the process that asked for this one is gone, even by kill -9."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _be_first_to_go() -> None:
    """Of all processes, let the kernel's out-of-memory killer choose this one."""
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def _refuse_beyond(limit: int) -> None:
    """Refuse this process address space beyond `limit` bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
