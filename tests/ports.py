"""Ports and numbers that no other process of the tests takes, now or later.

A port that the kernel gives out and that is closed again may go to anybody before it is used; here are ports below
those that the kernel gives out, shared out among the processes of this machine.
"""

from __future__ import annotations

import socket
from functools import cache
from itertools import count

PORTS, A_PROCESS, PROCESSES = 10_000, 200, 45
"""45 processes with 200 ports each, from 10000 on."""
_held: list[socket.socket] = []
_asked = count()


def own_number(kind: str) -> int:
    """The least number of a kind that no living process has; this one's until it ends."""
    for number in count():
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0webtext-tests-{kind}-{number}")
        except OSError:
            name.close()
            continue
        _held.append(name)
        return number
    raise AssertionError


@cache
def _first() -> int:
    return PORTS + own_number("ports") % PROCESSES * A_PROCESS


def free_port() -> int:
    """A TCP port that is free on all addresses, and stays so."""
    for _ in range(A_PROCESS):
        port = _first() + next(_asked) % A_PROCESS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free ports")
