"""Ranks: start-up under any launcher, and agreement on errors."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from data_prep.errors import UserError
from pipeline.launcher import end_with_launcher, free_port, map_environment

TIMEOUT_MINUTES = 30.0
"""For collectives, where no setting says otherwise; DeepSpeed's own default changed between releases."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""

__all__ = ["World", "free_port", "init", "map_environment", "on_main", "shutdown", "together"]

T = TypeVar("T")


def _import_deepspeed() -> None:
    """Import DeepSpeed without MLflow, of which only its autotuner makes use: seconds and 100 MB on every rank.

    The tracker imports MLflow on a thread of rank 0.
    """
    hide = "mlflow" not in sys.modules
    if hide:
        sys.modules["mlflow"] = None  # type: ignore[assignment]
    try:
        import deepspeed  # noqa: F401
    finally:
        if hide:
            del sys.modules["mlflow"]


def _import_muon() -> None:
    """Import DeepSpeed's Muon uncompiled, which is not used here.

    ZeRO imports it to see that; compiled, it brings the whole of torch's compiler: two seconds on every rank.
    """
    from deepspeed.runtime import compiler

    plain = compiler.compile
    compiler.compile = lambda: compiler.dummy_decorator
    try:
        import deepspeed.runtime.zero.muon.original_muon  # noqa: F401
    finally:
        compiler.compile = plain


_import_deepspeed()
_import_muon()


@dataclass(frozen=True)
class World:
    """This process among all.

    Attributes:
        rank: 0 .. size-1.
        size: number of processes.
        local_rank: number on this host.
        device: where tensors live.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which alone prints, tracks and writes manifests."""
        return self.rank == 0


def init(timeout_minutes: float = TIMEOUT_MINUTES) -> World:
    """Join the process group (NCCL with a GPU, else gloo) and return this process's place in it.

    Args:
        timeout_minutes: after which a collective that some rank does not join fails, in this and every later group.
    """
    end_with_launcher()
    os.environ.update(map_environment(dict(os.environ)))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    # The `deepspeed` launcher shows every GPU to its ranks, whatever the user hid; it leaves this variable alone.
    use_gpu = torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR") != "cpu"
    if not use_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        _share_cores()
        _keep_freed_memory()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed.c10d_logger")
    import deepspeed

    # No look at which operators could be built, for which a compiler is started: DeepSpeed asks for that of one alone,
    # whose just-in-time build can hang on a stale lock and only serves inference.
    deepspeed.ops.__compatible_ops__ = {}
    if use_gpu:
        torch.cuda.set_device(local_rank)
    timeout = timedelta(minutes=timeout_minutes)
    deepspeed.init_distributed(
        dist_backend="nccl" if use_gpu else "gloo", auto_mpi_discovery=False, verbose=False, timeout=timeout
    )
    # The groups that DeepSpeed makes of some ranks would have torch's default.
    deepspeed.comm.comm.cdb.new_group = lambda ranks: dist.new_group(ranks, timeout=timeout)
    device = torch.device("cuda", local_rank) if use_gpu else torch.device("cpu")
    return World(dist.get_rank(), dist.get_world_size(), local_rank, device)


def _share_cores() -> None:
    """Give each rank of this host its share of the cores: more threads than cores slow every rank down."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or os.environ["WORLD_SIZE"])
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks_here))


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of large tensors (logits) instead of returning it to the system at every step.

    Faulting the same pages in again took a fifth of a training step on the CPU. Without glibc nothing happens.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def together(work: Callable[[], T], group: dist.ProcessGroup | None = None) -> T:
    """Run `work` on every rank; if it fails on any, every rank raises.

    Without this, a rank that fails alone leaves the others waiting in their next collective.

    Args:
        work: what is done.
        group: of all ranks, to agree over; a thread beside the training needs one of its own.

    Raises:
        UserError: the first failing rank's, if it was one.
        RuntimeError: another error, named with its rank.
    """
    result: T | None = None
    error: Exception | None = None
    try:
        result = work()
    except Exception as caught:
        error = caught
    mine = error if isinstance(error, UserError) else (repr(error) if error is not None else None)
    everyone: list[UserError | str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine, group=group)
    for rank, theirs in enumerate(everyone):
        if isinstance(theirs, UserError):
            raise theirs from error
        if theirs is not None:
            if error is not None:
                raise error
            raise RuntimeError(f"rank {rank} failed: {theirs}")
    return result  # type: ignore[return-value]


def on_main(world: World, work: Callable[[], T], group: dist.ProcessGroup | None = None) -> T:
    """Run `work` on rank 0 only and give its result to every rank; an error there is raised everywhere."""
    value = together(lambda: work() if world.is_main else None, group)
    box: list[T | None] = [value]
    dist.broadcast_object_list(box, src=0, group=group)
    return box[0]  # type: ignore[return-value]


def shutdown() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
