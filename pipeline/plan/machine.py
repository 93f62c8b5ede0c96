"""What is known of this machine: looks, and changes nothing."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import Requirement

from pipeline.tracking.uri import ENVIRONMENT, reason, resolve_uri, shown, sqlite_path

PROJECT = "webtext-pipeline"
COMMANDS = ("nvidia-smi", "nvcc", "c++", "ninja", "srun", "ssh", "pdsh", "git")
_PROBE = """
import json, torch
c, d = torch.cuda, torch.distributed
available = c.is_available()
print(json.dumps({
    "cuda": torch.version.cuda,
    "available": available,
    "nccl": list(c.nccl.version()) if available and d.is_available() and d.is_nccl_available() else None,
    "bf16": available and c.is_bf16_supported(),
}))
import deepspeed
"""
"""Asked of another process: importing these takes long and may fail in any way."""


@dataclass(frozen=True)
class Facts:
    """A machine.

    Attributes:
        python: version.
        packages: requirement of this project -> installed version, None if it is not installed.
        commands: those of `COMMANDS` -> path or None.
        gpus: name, memory and driver of each, as nvidia-smi says.
        torch: what `torch` says of itself: cuda, available, nccl, bf16; None if it or deepspeed cannot be imported.
        import_error: last line of why.
        open_files: soft limit; -1 for none.
        locked_memory: bytes that may be pinned; -1 for no limit.
        shared_memory: bytes free in /dev/shm.
        disk: bytes free in the working directory.
        memory: bytes of RAM free or reclaimable.
        cpus: hardware threads that this process may use.
        infiniband: ports that are up.
        tracking: store, without credentials.
        tracking_error: why it cannot be reached; None if it can.
    """

    python: tuple[int, ...]
    packages: Mapping[str, str | None]
    commands: Mapping[str, str | None]
    gpus: list[str]
    torch: Mapping[str, Any] | None
    import_error: str = ""
    open_files: int = -1
    locked_memory: int = -1
    shared_memory: int = 1 << 40
    disk: int = 1 << 40
    memory: int = 1 << 40
    cpus: int = 64
    infiniband: list[str] = field(default_factory=list)
    tracking: str = ""
    tracking_error: str | None = None


def look(environment: Mapping[str, str] = os.environ) -> Facts:
    """Look at everything; takes seconds, since torch and deepspeed are imported once."""
    probe, error = _probe()
    tracking, tracking_error = _tracking(environment.get(ENVIRONMENT))
    return Facts(
        python=tuple(int(part) for part in platform.python_version_tuple()[:2]),
        packages=_packages(),
        commands={name: shutil.which(name) for name in COMMANDS},
        gpus=_gpus(),
        torch=probe,
        import_error=error,
        open_files=_limit(resource.RLIMIT_NOFILE),
        locked_memory=_limit(resource.RLIMIT_MEMLOCK),
        shared_memory=_free("/dev/shm"),
        disk=_free("."),
        memory=psutil.virtual_memory().available,
        cpus=len(os.sched_getaffinity(0)),
        infiniband=_infiniband(Path("/sys/class/infiniband")),
        tracking=tracking,
        tracking_error=tracking_error,
    )


def _requirements() -> list[str]:
    """Of this project: as its checkout says, else as it was installed."""
    path = Path(__file__).parents[2] / "pyproject.toml"
    if path.is_file():
        listed: list[str] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
        return listed
    return metadata.requires(PROJECT) or []


def _packages() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in _requirements():
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found[f"{need.name}{need.specifier}"] = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            found[f"{need.name}{need.specifier}"] = None
    return found


def _probe() -> tuple[dict[str, Any] | None, str]:
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return None, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return json.loads(lines[0]), ""


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _limit(which: int) -> int:
    soft = resource.getrlimit(which)[0]
    return -1 if soft == resource.RLIM_INFINITY else soft


def _free(folder: str) -> int:
    return shutil.disk_usage(folder).free if Path(folder).is_dir() else 0


def _infiniband(devices: Path) -> list[str]:
    return sorted(
        f"{state.parents[2].name} port {state.parent.name}"
        for state in devices.glob("*/ports/*/state")
        if "ACTIVE" in state.read_text()
    )


def _tracking(configured: str | None) -> tuple[str, str | None]:
    """(store, why it cannot be reached)."""
    try:
        uri = resolve_uri(configured)
        database = sqlite_path(uri)
        if database is not None:
            folder = next(one for one in database.parents if one.is_dir())
            return shown(uri), None if os.access(folder, os.W_OK) else f"{folder} cannot be written"
        with urllib.request.urlopen(f"{shown(uri).rstrip('/')}/health", timeout=5):
            return shown(uri), None
    except urllib.error.HTTPError as error:  # it is there, and wants a name or another path
        return shown(uri), None if error.code < 500 else f"it answers {error.code}"
    except Exception as error:
        return shown(configured or ""), reason(error)
