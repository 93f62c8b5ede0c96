"""Functions for a guarded child that do what bad pages make extractors do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def make_hostile() -> Callable[..., object]:
    """A function that misbehaves as its first argument says."""
    kept: list[bytes] = []
    calls = 0

    def run(what: str, detail: object = None) -> object:
        nonlocal calls
        calls += 1
        match what:
            case "pid":
                return os.getpid()
            case "calls":
                return calls
            case "loop":
                while True:
                    pass
            case "loop in C":
                return sum(range(10**14))
            case "sleep":
                time.sleep(3600)
            case "eat":
                while True:
                    kept.append(b"x" * (8 << 20))
            case "keep":
                assert isinstance(detail, int)
                kept.append(b"x" * detail)
            case "hold":
                assert isinstance(detail, int)
                held = b"x" * detail
                time.sleep(0.2)
                return len(held)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "abort":
                os.abort()
            case "exit":
                os._exit(3)
            case "raise":
                raise ValueError("an odd page")
            case "kill once":
                # The first child to come by dies, as if by the machine's out-of-memory killer.
                marker = Path(str(detail))
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        return what

    return run


def make_nothing() -> Callable[..., object]:
    """Fails at the start of the child."""
    raise ValueError("no such extractor")
