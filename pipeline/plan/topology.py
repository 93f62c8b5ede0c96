"""Which topologies fit, and which of them is fastest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError

from data_prep.errors import UserError
from pipeline.config.cluster import ClusterConfig
from pipeline.config.parallel import ParallelConfig
from pipeline.plan.job import Job
from pipeline.plan.memory import Memory, peak
from pipeline.plan.time import step_seconds

CHECKPOINTING: tuple[Literal["none", "selective", "full"], ...] = ("none", "selective", "full")


@dataclass(frozen=True)
class Choice:
    """A topology.

    Attributes:
        job: the run under it.
        memory: of the rank that needs most.
        fits: whether that is there.
        seconds: of a step.
    """

    job: Job
    memory: Memory
    fits: bool
    seconds: float

    def overrides(self) -> list[str]:
        """The settings that ask for it."""
        parallel = self.job.parallel
        return [
            f"parallel.zero_stage={parallel.zero_stage}",
            f"parallel.pipeline={parallel.pipeline}",
            f"parallel.tensor={parallel.tensor}",
            f"parallel.activation_checkpointing={parallel.activation_checkpointing}",
            f"train.micro_batch={self.job.micro_batch}",
        ]


def choice(job: Job, cluster: ClusterConfig) -> Choice:
    """What a topology takes on a cluster."""
    needed = peak(job)
    return Choice(job, needed, needed.total <= cluster.usable_bytes, step_seconds(job, cluster))


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _splits(job: Job, cluster: ClusterConfig) -> Iterator[dict[str, int]]:
    """ZeRO stages of a whole model, and cuts into pipeline stages and, inside a node, tensor-parallel ranks."""
    yield from ({"zero_stage": stage} for stage in ((0,) if job.precision == "fp32" else ()) + (1, 2, 3))
    if job.model.kind != "gpt":
        return
    for tensor in _divisors(cluster.gpus_per_node):
        for pipeline in _divisors(job.model.n_layer):
            if tensor * pipeline > 1 and cluster.world_size % (tensor * pipeline) == 0:
                yield {"zero_stage": 1, "tensor": tensor, "pipeline": pipeline}


def choices(job: Job, cluster: ClusterConfig) -> list[Choice]:
    """Every topology of a whole cluster that can run a job, with every checkpointing setting and micro-batches 2^n.

    Args:
        job: gives shape, global batch and precision, which stay as they are, and so does what is trained; on any ranks.
        cluster: gives the ranks.
    """
    settings = CHECKPOINTING if job.model.kind == "gpt" else CHECKPOINTING[:1]
    found = []
    for split in _splits(job, cluster):
        for setting in settings:
            try:
                changes = {**split, "activation_checkpointing": setting}
                parallel = ParallelConfig.model_validate({"compile": job.parallel.compile, **changes})
                parallel.check_model(job.model)
                parallel.check_precision(job.precision)
            except (ValidationError, ValueError):
                continue
            micro = 1
            while micro <= job.global_batch:
                try:
                    one = replace(job, parallel=parallel, micro_batch=micro, world_size=cluster.world_size)
                except UserError:  # the ranks, the batch or the vocabulary cannot be dealt out
                    break
                found.append(choice(one, cluster))
                if not found[-1].fits:
                    break  # a larger micro-batch needs more
                micro *= 2
    return found


def ranked(found: list[Choice]) -> list[Choice]:
    """Those that fit, the fastest first; of each split and checkpointing setting the best micro-batch alone."""
    best: dict[str, Choice] = {}
    # The formulas do not see that larger matrix products are faster: of equals the larger micro-batch.
    for one in sorted(
        (one for one in found if one.fits), key=lambda one: (round(one.seconds, 9), -one.job.micro_batch)
    ):
        best.setdefault(one.job.parallel.model_dump_json(), one)
    return list(best.values())


def advice(job: Job, cluster: ClusterConfig, found: list[Choice]) -> list[str]:
    """What to do if nothing fits: the nearest miss, and what it lacks."""
    if not found:
        return ["no topology deals out this model, batch and vocabulary evenly: change train.global_batch or the ranks"]
    nearest = min(found, key=lambda one: one.memory.total)
    lacking = nearest.memory.total / cluster.usable_bytes
    lines = [
        f"nothing fits: {' '.join(nearest.overrides())} comes nearest and needs {nearest.memory.total / 2**30:.1f} GiB "
        f"of {cluster.usable_bytes / 2**30:.1f}"
    ]
    lines.append(f"use about {lacking:.1f} times as many GPUs, or GPUs with more memory (cluster.gpu)")
    if nearest.memory.logits > nearest.memory.activations and not job.loss_chunk:
        lines.append("kernels.loss_chunk=1024 holds fewer logits at once")
    lines.append(
        "deepspeed.zero_optimization.offload_optimizer moves 12 bytes a parameter to the host (not planned here)"
    )
    return lines
