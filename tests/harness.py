"""Runs a function on several ranks without paying the imports of torch and DeepSpeed each time.

A fork server, a process of its own that has imported everything and computed nothing (so that it has no threads),
forks one process a rank. `ranks(2, function, *args)` gives the rank-ordered results.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection, forkserver, popen_forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

_SERVER_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "DS_ACCELERATOR": "cpu",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",  # else importing the compiler starts worker processes
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow down whatever shares their core
}
_PRELOAD = "rank_imports"
_OUTPUT_SHOWN = 6000
TIMEOUT = 300.0
"""Seconds; what takes so long hangs, however busy the machine is."""


@dataclass
class Outcome:
    """What became of one rank.

    Attributes:
        value: what the function returned.
        error: what it raised, if that can be pickled.
        trace: the traceback as text; empty if all went well.
        output: what the rank printed, DeepSpeed's messages included.
        exit_code: None if the rank was killed because the time was up.
    """

    value: Any = None
    error: BaseException | None = None
    trace: str = ""
    output: str = ""
    exit_code: int | None = None


class RankFailed(AssertionError):
    """A rank raised, died or did not end in time."""


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Popen(popen_forkserver.Popen):
    """As `multiprocessing` has it, from a server of our own: that of data preparation knows nothing of torch."""

    server = forkserver.ForkServer()
    lock = threading.Lock()

    def _launch(self, process_obj: Any) -> None:
        with self.lock, pytest.MonkeyPatch.context() as patch:
            patch.setattr(forkserver, "connect_to_new_process", self.server.connect_to_new_process)
            super()._launch(process_obj)


class _Rank(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:  # noqa: N802
        return _Popen(process_obj)


@cache
def _start_server() -> None:
    _Popen.server.set_forkserver_preload([_PRELOAD])
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    with _environment({**_SERVER_ENVIRONMENT, "PYTHONPATH": path}):
        # The server keeps the environment of its start, and says nothing where it cannot import something.
        process = _Rank(target=_assert_imported)
        process.start()
        process.join()
    assert process.exitcode == 0


def _assert_imported() -> None:
    assert _PRELOAD in sys.modules


def _rank_main(
    pipe: connection.Connection, output: str, env: dict[str, str], function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ.update(env)
    try:
        pipe.send((function(*args), None, ""))
    except BaseException as error:
        trace = traceback.format_exc()
        try:
            pipe.send((None, error, trace))
        except Exception:
            pipe.send((None, None, trace))
    pipe.close()
    sys.stdout.flush()
    os._exit(0)  # what DeepSpeed and gloo leave behind is of no interest


def outcomes(
    size: int, function: Callable[..., Any], *args: Any, timeout: float = TIMEOUT, env: dict[str, str] | None = None
) -> list[Outcome]:
    """Run `function(*args)` on `size` ranks under the environment that a launcher gives; never raises.

    Args:
        size: number of ranks.
        function: importable by name.
        args: picklable; results too, tensors as NumPy arrays (torch would pass them as handles that die with a rank).
        timeout: seconds after which what still runs is killed.
        env: further variables.
    """
    _start_server()
    port = str(free_port())
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for rank in range(size):
            rank_env = {
                **(env or {}),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            mine, theirs = multiprocessing.Pipe(duplex=False)
            output = Path(folder) / f"rank{rank}"
            process = _Rank(target=_rank_main, args=(theirs, str(output), rank_env, function, args))
            process.start()
            theirs.close()
            started.append((process, mine, output))
        deadline = time.monotonic() + timeout
        results = []
        for process, pipe, output in started:
            outcome = Outcome(trace="ended without a result")
            if pipe.poll(max(0.0, deadline - time.monotonic())):
                with suppress(EOFError):  # killed
                    outcome = Outcome(*pipe.recv())
                process.join(max(0.0, deadline - time.monotonic()))
            outcome.exit_code = process.exitcode
            if process.is_alive():
                process.kill()
                process.join()
                outcome.trace = outcome.trace if outcome.value is None else ""
            outcome.output = output.read_text(errors="replace") if output.exists() else ""
            results.append(outcome)
        return results


def ranks(
    size: int, function: Callable[..., Any], *args: Any, timeout: float = TIMEOUT, env: dict[str, str] | None = None
) -> list[Any]:
    """The results of `function(*args)` on every rank; see `outcomes`.

    Raises:
        RankFailed: with the tracebacks.
    """
    found = outcomes(size, function, *args, timeout=timeout, env=env)
    wrong = [
        f"rank {rank} (exit code {one.exit_code}): {one.trace}\n{one.output[-_OUTPUT_SHOWN:]}"
        for rank, one in enumerate(found)
        if one.trace
    ]
    if wrong:
        raise RankFailed("\n".join(wrong))
    return [one.value for one in found]
