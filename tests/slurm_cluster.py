"""A real Slurm on this machine: a controller and two nodes of four declared cores, no root, no munge, one folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ports import free_port, own_number

NODES, SPARE = ("n1", "n2"), "n3"
"""Of the spare, which Slurm knows, no daemon runs before `start_node`."""
CONFIG = """
ClusterName=test
AuthInfo=cred_expire=5
AuthType=auth/none
CredType=cred/none
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=100000
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
MinJobAge=600
KillWait=5
JobRequeue=1
FirstJobId={first_job}
MaxArraySize={max_array_size}
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
"""


def require() -> None:
    """Skip where Slurm is not installed; in continuous integration, which installs it, fail."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "srun") if shutil.which(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} not found: .ci/run installs them")
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: apt install slurm-wlm")


@contextlib.contextmanager
def running(folder: Path, max_array_size: int = 1001) -> Iterator[None]:
    """Start it and point SLURM_CONF to it; cancel all jobs and stop it at the end."""
    host, port, node_ports = socket.gethostname().partition(".")[0], free_port(), [free_port() for _ in (*NODES, SPARE)]
    for name in ("state", "log", *(f"spool/{node}" for node in (*NODES, SPARE))):
        (folder / name).mkdir(parents=True)
    # Of this number the scripts make the port where the ranks of a job meet.
    job = 1 + 100 * (own_number("slurm") % 200)
    facts = {"host": host, "user": getpass.getuser(), "port": port, "folder": folder, "first_job": job}
    lines = [CONFIG.format(**facts, max_array_size=max_array_size)]
    for node, node_port in zip((*NODES, SPARE), node_ports, strict=True):
        address = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port}"
        lines.append(f"NodeName={node} {address} CPUs=4 RealMemory=4000\n")
    lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP OverSubscribe=NO\n")
    config = folder / "slurm.conf"
    config.write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(config))
        try:
            subprocess.run(["slurmctld", "-f", str(config)], check=True)
            for node in NODES:
                subprocess.run(["slurmd", "-f", str(config), "-N", node], check=True)
            _wait_until_idle(folder)
            yield
        finally:
            subprocess.run(["scancel", "--user", getpass.getuser()], capture_output=True, check=False)
            time.sleep(0.5)
            for file in (*(f"slurmd.{node}.pid" for node in (*NODES, SPARE)), "slurmctld.pid"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                    os.kill(int((folder / file).read_text()), signal.SIGTERM)


def kill_node(daemon: int, task: psutil.Process) -> None:
    """Let a node vanish: its daemon, and what it started of one job.

    Args:
        daemon: process id of the slurmd.
        task: process of a job that runs there.
    """
    step = task
    while "slurmstepd" not in step.name():
        step = step.parent()  # type: ignore[assignment]
    os.kill(daemon, signal.SIGKILL)
    for process in (step, *step.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def start_node(folder: Path, node: str) -> None:
    """Start the daemon of a node, without memory of the steps it had."""
    subprocess.run(["slurmd", "-f", str(folder / "slurm.conf"), "-N", node, "-c"], check=True)


def state_of(node: str) -> str:
    """Slurm's word for the state of a node, such as "IDLE" or "DOWN*"."""
    command = ["scontrol", "show", "node", "-o", node]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)["State"]


def _wait_until_idle(folder: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        seen = subprocess.run(["sinfo", "-h", "-o", "%T %D"], capture_output=True, text=True, check=False).stdout
        if f"idle {len(NODES)}" in seen:
            return
        time.sleep(0.1)
    raise RuntimeError(f"Slurm does not come up: {(folder / 'log' / 'slurmctld.log').read_text()[-2000:]}")
