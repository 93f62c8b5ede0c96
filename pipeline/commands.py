"""Commands of this project as a user would type them, and running them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pipeline.launcher import DEEPSPEED_PORT, OWNER_PID, free_port, port_is_free

HOME = Path(__file__).resolve().parent.parent
"""Folder that holds launch/ and configs/."""
_CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "TORCH_EXTENSIONS_DIR": "torch-extensions",
    "TRITON_CACHE_DIR": "triton",
    "XDG_CONFIG_HOME": "config",
}
"""Environment variable -> folder, for what libraries keep in the home folder otherwise."""


def relative(path: Path) -> str:
    """The path as a user in the present folder would type it."""
    plain = Path(os.path.normpath(path))
    return os.path.relpath(plain) if plain.is_relative_to(Path.cwd()) else str(plain)


def program(name: str) -> str:
    """A command installed beside this Python, or on the search path."""
    beside = Path(sys.executable).parent / name
    return relative(beside) if beside.exists() else name


def script(name: str) -> tuple[str, ...]:
    """A file of launch/ under this Python."""
    return (relative(Path(sys.executable)), relative(HOME / "launch" / name))


def training_script(name: str, ranks: int) -> tuple[str, ...]:
    """A file of launch/ on so many ranks of this machine; one runs without a launcher."""
    if ranks == 1:
        return script(name)
    launcher = (program("deepspeed"), "--log_level", "error", "--num_accelerators", str(ranks))
    return (*launcher, relative(HOME / "launch" / name))


def with_free_port(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with a port option for `deepspeed` where its usual port is taken now."""
    if Path(command[0]).name != "deepspeed" or port_is_free(DEEPSPEED_PORT):
        return command
    return (command[0], "--master_port", str(free_port()), *command[1:])


def call(
    command: Sequence[str],
    root: str,
    device: str,
    output: IO[bytes] | None = None,
    more: Mapping[str, str] | None = None,
) -> int:
    """Run a command in a session of its own, so that nothing of it outlives an interruption; returns its exit code.

    Args:
        command: program and arguments.
        root: folder below which libraries keep what they would keep in the home folder.
        device: "cpu" hides GPUs.
        output: where stdout and stderr go; else to those of this process.
        more: further environment variables.
    """
    env = {**os.environ, OWNER_PID: str(os.getpid()), "PYTHONUNBUFFERED": "1", **(more or {})}
    env |= {name: str(Path(root, ".cache", folder).resolve()) for name, folder in _CACHES.items()}
    if device == "cpu":
        env |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, env=env, start_new_session=True, stdout=output, stderr=output)
    try:
        return process.wait()
    except BaseException:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        raise
