"""Launching: free ports, rank numbers, and an end of the ranks when what launched them is gone."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

import psutil

OWNER_PID = "WEBTEXT_OWNER_PID"
"""Environment variable naming a process without which the ranks must not go on."""
_LAUNCHERS = ("deepspeed", "torchrun", "torch.distributed")
_LAUNCHER_VARIABLES = ("TORCHELASTIC_RUN_ID", "CROSS_RANK")
"""Set by `torchrun` and by `deepspeed` for their ranks, and not by others that give RANK."""


DEEPSPEED_PORT = 29500
"""Where the `deepspeed` launcher meets its ranks unless told otherwise."""


def free_port() -> int:
    """A TCP port that is free on the loopback address now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a TCP port can be bound on this machine now."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


def map_environment(env: dict[str, str]) -> dict[str, str]:
    """The rendezvous variables for this process, whichever launcher started it.

    `deepspeed` and `torchrun` set them; under `srun` they follow from Slurm's (one task a rank); a plain `python` is
    one rank.
    """
    if "RANK" in env and "WORLD_SIZE" in env:
        return {}
    # Set inside the steps of `srun` alone: a batch script has SLURM_NTASKS and is task 0 itself.
    tasks = env.get("SLURM_STEP_NUM_TASKS", "1")
    if "SLURM_PROCID" in env and int(tasks) > 1:
        return {
            "RANK": env["SLURM_PROCID"],
            "WORLD_SIZE": tasks,
            "LOCAL_RANK": env["SLURM_LOCALID"],
            "MASTER_ADDR": env.get("MASTER_ADDR") or env["SLURM_LAUNCH_NODE_IPADDR"],
            "MASTER_PORT": env.get("MASTER_PORT") or str(20000 + int(env["SLURM_JOB_ID"]) % 20000),
        }
    return {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }


def end_with_launcher() -> None:
    """End this rank when a launcher above it is gone.

    A SIGKILL of `deepspeed` leaves its ranks running as orphans, which would go on writing into the run's folder.
    """
    watched: list[psutil.Process] = []
    parent = psutil.Process().parent()
    while parent is not None:
        try:
            if not any(name in " ".join(parent.cmdline()) for name in _LAUNCHERS):
                break
        except psutil.Error:
            break
        watched.append(parent)
        parent = parent.parent()
    started_by_launcher = any(name in os.environ for name in _LAUNCHER_VARIABLES)
    if started_by_launcher and os.getppid() == 1 and not watched:
        sys.exit("the launcher is gone")  # it died while this rank was still starting
    if OWNER_PID in os.environ:
        try:
            watched.append(psutil.Process(int(os.environ[OWNER_PID])))
        except psutil.NoSuchProcess:
            sys.exit(1)
    if not watched:
        return

    def watch() -> None:
        while all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in watched):
            time.sleep(0.5)
        os._exit(1)

    def safely() -> None:
        try:
            watch()
        except psutil.NoSuchProcess:
            os._exit(1)

    threading.Thread(target=safely, name="launcher-watch", daemon=True).start()
