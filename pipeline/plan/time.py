"""Time of an optimizer step, by part. Nothing overlaps: this project switches DeepSpeed's overlap off."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.cluster import ClusterConfig
from pipeline.model.sizes import flops_per_token
from pipeline.plan.job import Job
from pipeline.plan.memory import stage_parameters

LINK_SHARE = 0.8
"""Share of a link's bandwidth that collectives reach (ours; large messages in nccl-tests)."""


@dataclass(frozen=True)
class Framework:
    """In what another framework differs from this project.

    Attributes:
        interleave: blocks of layers per pipeline stage (2104.04473, 2.2.2).
        scattered: a stage sends each tensor-parallel rank's share of a tensor once (2104.04473, 4.1); this project's
            ranks all send the whole.
        early_stop: recomputation ends before a block's last matrix product, whose output the backward pass does not
            need (torch's non-reentrant checkpoint).
    """

    interleave: int = 1
    scattered: bool = False
    early_stop: bool = True


OURS = Framework()


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step.

    Attributes:
        compute: of the slowest stage.
        bubble: waiting for a pipeline to fill and drain.
        tensor: all-reduces among tensor-parallel ranks.
        pipeline: activations and their gradients between stages.
        data: gradients and weights among data-parallel ranks.
    """

    compute: float
    bubble: float
    tensor: float
    pipeline: float
    data: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.bubble + self.tensor + self.pipeline + self.data


def bubble_share(stages: int, micro_batches: int, interleave: int = 1) -> float:
    """Idle share of a step: (p - 1) / (v m + p - 1), after 2104.04473, 2.2, which relates it to the ideal time."""
    return (stages - 1) / (interleave * micro_batches + stages - 1)


def recomputed_flops(job: Job, framework: Framework = OURS) -> float:
    """FLOPs per token and block that activation checkpointing adds, averaged over blocks."""
    model, setting = job.model, job.parallel.activation_checkpointing
    if setting == "none" or model.kind == "lstm":
        return 0.0
    product = 8 * model.d_model**2  # one matrix product of the feed-forward
    if setting == "selective":
        return product if framework.early_stop else 2 * product
    forward = 8 * model.d_model * job.inner + 2 * product + 2 * job.inner * model.sequence_length
    blocks = job.stage_blocks
    every = 1 if setting == "full" else int(setting)
    return (forward - (product if framework.early_stop else 0)) * -(-blocks // every) / blocks


def stage_flops(job: Job, framework: Framework = OURS) -> float:
    """FLOPs per token of the slowest stage, the one with the head, recomputation included; of all its ranks."""
    model = job.model
    if model.kind == "lstm":
        return float(flops_per_token(model, job.vocab_size))
    block = 6 * (4 * model.d_model * job.inner + 8 * model.d_model**2) + 6 * job.inner * model.sequence_length
    return job.stage_blocks * (block + recomputed_flops(job, framework)) + 6 * job.rows * model.d_model


def _bandwidth(cluster: ClusterConfig, stride: int, ranks: int) -> float:
    """Bytes/s of a ring over `ranks` ranks that lie `stride` apart.

    Between nodes a ring has as many network links as it has ranks in a node.
    """
    link = cluster.device.link_gb
    if stride * (ranks - 1) >= cluster.gpus_per_node:
        link = min(link, max(1, cluster.gpus_per_node // stride) * cluster.network_gb)
    return LINK_SHARE * link * 1e9


def all_reduce(size: float, ranks: int, bandwidth: float) -> float:
    """Seconds of a ring all-reduce of `size` bytes; a reduce-scatter or an all-gather takes half of it."""
    return 2 * size * (ranks - 1) / ranks / bandwidth


def data_seconds(job: Job, cluster: ClusterConfig) -> float:
    """Gradients and weights among data-parallel ranks in one step (1910.02054, section 7).

    Stages 0 and 1 all-reduce gradients once a step, and 1 gathers weights; 2 reduces at every micro-batch; 3 also
    gathers weights twice at every micro-batch.
    """
    copies, stage = job.data_parallel, job.parallel.zero_stage
    if copies == 1:
        return 0.0
    size = float(job.element * max(stage_parameters(job, 0), stage_parameters(job, job.parallel.pipeline - 1)))
    half = all_reduce(size, copies, _bandwidth(cluster, job.parallel.tensor, copies)) / 2
    times = {0: 2, 1: 3, 2: job.micro_batches + 1, 3: 3 * job.micro_batches}[stage]
    return times * half


def step_time(job: Job, cluster: ClusterConfig, framework: Framework = OURS) -> StepTime:
    """Time of one optimizer step.

    A micro-batch takes a stage tokens x FLOPs / (t x peak x reached) seconds, 4 all-reduces of a [batch, time, d_model]
    tensor a block among t tensor-parallel ranks (1909.08053, section 3; recomputing a block repeats those of its
    forward pass that it needs), and two transfers of such a tensor between stages.
    """
    parallel, model = job.parallel, job.model
    stages, tensor, micro_batches = parallel.pipeline, parallel.tensor, job.micro_batches
    peak_flops = cluster.device.fp32_flops if job.precision == "fp32" else cluster.device.flops
    compute = job.tokens * stage_flops(job, framework) / (tensor * peak_flops * cluster.reached)
    hidden = float(job.element * job.tokens * model.d_model)
    split = 0.0
    if tensor > 1:
        setting = parallel.activation_checkpointing
        again = 0 if setting in ("none", "selective") else 1 if framework.early_stop else 2
        every = setting if isinstance(setting, int) else 1
        times = job.stage_blocks * 4 + -(-job.stage_blocks // every) * again + 1
        split = times * all_reduce(hidden, tensor, _bandwidth(cluster, 1, tensor))
    sent = 0.0
    if stages > 1:
        link = cluster.device.link_gb
        if tensor * job.data_parallel * stages > cluster.gpus_per_node:
            link = min(link, cluster.network_gb)
        # Interleaving sends as many times more often (2104.04473, 2.2.2).
        size = framework.interleave * hidden / (tensor if framework.scattered else 1)
        sent = 2 * size / (LINK_SHARE * link * 1e9)
    unit = compute + split + sent
    return StepTime(
        compute=micro_batches * compute,
        bubble=(stages - 1) / framework.interleave * unit,
        tensor=micro_batches * split,
        pipeline=micro_batches * sent,
        data=data_seconds(job, cluster),
    )


def mfu(job: Job, cluster: ClusterConfig, seconds: float) -> float:
    """Model FLOPs utilisation of a step that takes so long, by the causal convention of `flops_per_token`."""
    peak_flops = cluster.device.fp32_flops if job.precision == "fp32" else cluster.device.flops
    flops = job.step_tokens * flops_per_token(job.model, job.vocab_size)
    return flops / (seconds * peak_flops * job.world_size)


def step_seconds(job: Job, cluster: ClusterConfig) -> float:
    """Seconds of one optimizer step: at `cluster.mfu` if it is stated, else of `step_time`."""
    return step_time(job, cluster).total if cluster.mfu is None else mfu(job, cluster, 1.0) / cluster.mfu
