"""What this machine lacks, and what that costs; looks, and changes nothing."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = {
    "torch": "nothing trains",
    "deepspeed": "nothing trains",
    "mlflow": "runs are in their folders only, not in a tracking server; set tracking.mlflow=false",
    "safetensors": "no checkpoints",
    "fastokens": "tokens are encoded by tokenizers, slower",
    "gigatoken": "tokenizers are trained by tokenizers, slower",
    "lm-eval": "no tasks of the evaluation harness; pip install 'webtext-pipeline[harness]'",
    "s3fs": "no s3:// paths; pip install 'webtext-pipeline[s3]'",
    "ray": "no data preparation on Ray; pip install 'webtext-pipeline[ray]'",
}
"""Package -> what its absence costs."""

COMMANDS = {
    "nvidia-smi": "no GPU: training runs on the CPU",
    "cc": "no C compiler: parallel.compile=true and banded attention on GPUs fail",
    "srun": "no Slurm: several nodes need the deepspeed launcher and a hostfile",
    "git": "runs do not record the commit of the code",
}
"""Command -> what its absence costs."""
SHARED_MEMORY, OPEN_FILES, DISK = 2**30, 4096, 20 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: of it.
        found: version, place or size; None if it is missing or too small.
        cost: what its absence costs.
    """

    name: str
    found: str | None
    cost: str


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def gpus() -> list[str]:
    """Name and memory of the GPUs that `nvidia-smi` sees."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _room(path: str) -> int:
    return shutil.disk_usage(path).free if Path(path).is_dir() else 0


def examine(
    package: Callable[[str], str | None] = _package,
    command: Callable[[str], str | None] = shutil.which,
    seen: Callable[[], list[str]] = gpus,
    free: Callable[[str], int] = _room,
    environment: Mapping[str, str] = os.environ,
) -> list[Finding]:
    """Look at packages, commands, GPUs, memory and disk.

    Args:
        package: name -> version or None.
        command: name -> path or None.
        seen: the GPUs.
        free: folder -> free bytes.
        environment: of the process.
    """
    found = [Finding(name, package(name), cost) for name, cost in PACKAGES.items()]
    found += [Finding(name, command(name), cost) for name, cost in COMMANDS.items()]
    devices = seen()
    if command("nvidia-smi") is not None:
        shown = f"{len(devices)}: {devices[0]}" if devices else None
        found.append(Finding("GPUs", shown, "nvidia-smi sees none: training runs on the CPU"))
        if len(devices) > 1:
            room = free("/dev/shm")
            shown = f"{room / 2**30:.1f} GiB" if room >= SHARED_MEMORY else None
            found.append(Finding("/dev/shm", shown, "less than 1 GiB free: NCCL fails to start between GPUs of a node"))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = files != resource.RLIM_INFINITY and files < OPEN_FILES
    found.append(
        Finding("open files", None if few else str(files), f"{files} only: datasets of many shards; ulimit -n")
    )
    room = free(".")
    shown = f"{room / 2**30:.0f} GiB free" if room >= DISK else None
    found.append(Finding("disk", shown, f"{room / 2**30:.1f} GiB free here: checkpoints may not fit; set run.dir"))
    if "MLFLOW_TRACKING_URI" in environment:
        found.append(Finding("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"], ""))
    return found


def text(findings: list[Finding]) -> str:
    """One line a finding; what is missing first."""
    lacking = [f"missing  {one.name}: {one.cost}" for one in findings if one.found is None]
    return "\n".join([*lacking, *(f"ok       {one.name}: {one.found}" for one in findings if one.found is not None)])
