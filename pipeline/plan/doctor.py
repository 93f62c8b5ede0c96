"""What this machine lacks, and what each lack costs, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement

from pipeline.plan.machine import Facts

PYTHON = (3, 11)
OPTIONAL = {
    "mlflow": "runs are in their folders only: set tracking.mlflow=false, and send them later from elsewhere",
    "fastokens": "tokens are encoded by tokenizers, slower",
    "gigatoken": "tokenizers are trained by tokenizers, slower",
    "matplotlib": "no plots in reports and comparisons",
}
"""Requirement -> what its absence costs; without another one of this project's requirements something stops."""
COMMANDS = {
    "nvcc": "CUDA operators of DeepSpeed (fused, offloaded to the host) cannot be built",
    "c++": "parallel.compile=true fails, and so do DeepSpeed's operators for offloading",
    "ninja": "DeepSpeed cannot build its operators for offloading",
    "srun": "no Slurm: several nodes need `deepspeed --hostfile`, which needs ssh",
    "ssh": "the deepspeed launcher cannot start other nodes without Slurm",
    "pdsh": "`deepspeed --hostfile` needs it, or --launcher openmpi",
    "git": "runs do not record the commit of the code",
}
"""Command -> what its absence costs."""
GIB = 2**30
SHARED_MEMORY, DISK, MEMORY = GIB, 20 * GIB, 8 * GIB
OPEN_FILES, THREADS = 4096, 4
PINNED = GIB


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: of it.
        found: version, place or size; None if it is missing, too small or wrong.
        cost: what that costs.
        fatal: whether no run is possible without it.
    """

    name: str
    found: str | None
    cost: str = ""
    fatal: bool = False


def _check(name: str, fine: bool, found: str, cost: str, fatal: bool = False) -> Finding:
    return Finding(name, found if fine else None, cost, fatal)


def _software(facts: Facts) -> Iterator[Finding]:
    version = ".".join(map(str, facts.python))
    yield _check("Python", facts.python[:2] >= PYTHON, version, f"{version}: 3.11 is the oldest that runs", True)
    right = []
    for text, installed in facts.packages.items():
        need = Requirement(text)
        if installed is None:
            cost = OPTIONAL.get(need.name, "not installed: pip install -e .")
            yield Finding(need.name, None, cost, need.name not in OPTIONAL)
            continue
        if need.specifier.contains(installed, prereleases=True):
            right.append(f"{need.name} {installed}")
        else:
            cost = f"{installed} is outside the tested {need.specifier}: anything may differ, numbers first"
            yield Finding(need.name, None, cost)
    if right:
        yield Finding("packages within their tested ranges", f"{len(right)}: {', '.join(right)}")
    yield _check(
        "import of torch and deepspeed", facts.torch is not None, "works", f"fails ({facts.import_error})", fatal=True
    )


def _gpus(facts: Facts) -> Iterator[Finding]:
    if not facts.gpus:
        why = "nvidia-smi sees none" if facts.commands.get("nvidia-smi") else "no NVIDIA driver (nvidia-smi is missing)"
        yield Finding("GPU", None, f"{why}: training runs on the CPU, some hundred times slower")
        return
    yield Finding("GPU", f"{len(facts.gpus)}: {facts.gpus[0]}")
    if facts.torch is None:
        return
    build = facts.torch["cuda"]
    why = "torch was built without CUDA" if build is None else f"the driver is too old for CUDA {build} of torch"
    yield _check("torch on the GPU", facts.torch["available"], f"CUDA {build}", f"{why}: training runs on the CPU")
    if not facts.torch["available"]:
        return
    yield _check("bf16", facts.torch["bf16"], "yes", "GPUs older than A100: precision fp16 or fp32 only")
    several = "more than one GPU cannot be used"
    nccl = facts.torch["nccl"]
    yield _check("NCCL", nccl is not None, ".".join(map(str, nccl or ())), f"torch has none: {several}")
    room = f"{facts.shared_memory / GIB:.1f} GiB free"
    cost = f"{room}: NCCL fails to start between GPUs of a node; containers: --shm-size=8g"
    yield _check("/dev/shm", facts.shared_memory >= SHARED_MEMORY, room, cost)
    per_gpu = facts.cpus / len(facts.gpus)
    cost = f"{per_gpu:.1f} for each GPU: reading data, checkpoints and the tracker slow steps down"
    yield _check("CPU threads", per_gpu >= THREADS, str(facts.cpus), cost)
    up = ", ".join(facts.infiniband)
    yield _check("InfiniBand", bool(up), up, "no port is up: several nodes talk over Ethernet, many times slower")
    locked = facts.locked_memory
    limit = "no limit" if locked < 0 else f"{locked / GIB:.2f} GiB"
    cost = f"{limit}: InfiniBand and pinned buffers may fail; ulimit -l unlimited"
    yield _check("locked memory", locked < 0 or locked >= PINNED, limit, cost)


def _rest(facts: Facts) -> Iterator[Finding]:
    for name, cost in COMMANDS.items():
        if name != "nvcc" or facts.gpus:
            path = facts.commands.get(name)
            yield _check(name, path is not None, path or "", cost)
    if not facts.gpus:
        yield _check("CPU threads", facts.cpus > 1, str(facts.cpus), "one: data and tracker take time from training")
    files = "no limit" if facts.open_files < 0 else str(facts.open_files)
    few = 0 <= facts.open_files < OPEN_FILES
    yield _check("open files", not few, files, f"{files}: datasets of many shards fail; ulimit -n {OPEN_FILES}")
    disk = f"{facts.disk / GIB:.1f} GiB free"
    yield _check("disk", facts.disk >= DISK, disk, f"{disk} here: checkpoints may not fit; set run.dir")
    memory = f"{facts.memory / GIB:.1f} GiB free"
    yield _check("memory", facts.memory >= MEMORY, memory, f"{memory}: large models and checkpoints on the CPU fail")
    cost = f"{facts.tracking_error}: runs go on, in their folders; send them later: python launch/track.py sync RUN_DIR"
    yield _check(f"MLflow at {facts.tracking}", facts.tracking_error is None, "reachable", cost)


def examine(facts: Facts) -> list[Finding]:
    """Everything that training looks for on a machine."""
    return [*_software(facts), *_gpus(facts), *_rest(facts)]


def text(findings: list[Finding]) -> str:
    """One line a finding: what stops a run, what is missing, what is there."""
    lacking = [one for one in findings if one.found is None]
    lines = [f"stops    {one.name}: {one.cost}" for one in lacking if one.fatal]
    lines += [f"missing  {one.name}: {one.cost}" for one in lacking if not one.fatal]
    lines += [f"ok       {one.name}: {one.found}" for one in findings if one.found is not None]
    if not any(one.fatal for one in lacking):
        return "\n".join([*lines, "A run is possible here."])
    return "\n".join([*lines, "No run is possible here."])
