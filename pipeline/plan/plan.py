"""A plan: everything that is known of a run before it starts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.errors import UserError
from pipeline.config.cluster import ClusterConfig
from pipeline.model.sizes import flops_per_token, parameter_count
from pipeline.plan.inputs import Inputs
from pipeline.plan.job import Job
from pipeline.plan.length import Checkpoint, Length, RampPoint, checkpoint, length, ramp_table, schedule_of
from pipeline.plan.memory import Memory, memory
from pipeline.plan.time import StepTime, bubble_share, mfu, step_time
from pipeline.plan.topology import Choice, advice, choice, choices, ranked

RESERVE = 1.15
"""Wall time asked of Slurm, as a multiple of the planned time (ours): validation, checkpoints, restarts."""


@dataclass(frozen=True)
class Planned:
    """One topology in full.

    Attributes:
        choice: memory, time, and whether it fits.
        stages: memory of a rank of each pipeline stage.
        parts: where the time of a step goes.
        bubble: idle share of a step, by the formula.
        mfu: model FLOPs utilisation, causal convention.
        tokens_per_s: of all GPUs.
        length: of the run, if its tokens are known.
        ramp: rows of the batch-ramp table.
        ramp_line: the ramp in one line, its floor included.
        checkpoint: on the disk.
        cost: of the run, if price and length are known.
        launch: the command that starts it.
    """

    choice: Choice
    stages: list[Memory]
    parts: StepTime
    bubble: float
    mfu: float
    tokens_per_s: float
    length: Length | None
    ramp: list[RampPoint]
    ramp_line: str | None
    checkpoint: Checkpoint
    cost: float | None
    launch: str


@dataclass(frozen=True)
class Plan:
    """What `launch/plan.py` shows.

    Attributes:
        inputs: what was planned.
        parameters: of the model.
        flops: convention -> FLOPs per token.
        asked: the topology of the configuration; None if the cluster cannot run it.
        problem: why it cannot.
        others: topologies that fit, the fastest first.
        recommended: the fastest of them in full; None if nothing fits.
        advice: what to do if nothing fits.
    """

    inputs: Inputs
    parameters: int
    flops: dict[str, int]
    asked: Planned | None
    problem: str | None
    others: list[Choice]
    recommended: Planned | None
    advice: list[str]


def launch_line(path: str, settings: Sequence[str], cluster: ClusterConfig, seconds: float | None) -> str:
    """The command that starts a run: the launcher on one node, a Slurm job on several.

    The job is requeued at its time limit: the limit is no more than a guess of the whole run with some reserve.
    """
    words = [path, *(one for one in settings if not one.startswith("cluster."))]
    if cluster.nodes == 1:
        launcher = ["deepspeed", "--num_accelerators", str(cluster.gpus_per_node), "launch/pretrain.py"]
        return shlex.join([*launcher, *words])
    request = [f"--nodes={cluster.nodes}", f"--ntasks-per-node={cluster.gpus_per_node}"]
    request.append(f"--gpus-per-node={cluster.gpus_per_node}")
    if seconds is not None:
        hours = max(1, -int(-seconds * RESERVE // 3600))
        request.append(f"--time={hours // 24}-{hours % 24:02d}:00:00")
    return shlex.join(["sbatch", *request, "slurm/pretrain.sbatch", *words])


def in_full(inputs: Inputs, one: Choice, path: str, settings: Sequence[str]) -> Planned:
    """All figures of one topology."""
    config, cluster, job = inputs.config, inputs.cluster, one.job
    train = config.train.model_copy(update={"micro_batch": job.micro_batch})
    config = config.model_copy(update={"train": train})
    batches = schedule_of(config, job)
    whole = length(job, cluster, batches, inputs.tokens) if inputs.tokens is not None else None
    cost = None
    if whole is not None and cluster.price is not None:
        cost = whole.seconds / 3600 * cluster.world_size * cluster.price
    return Planned(
        choice=one,
        stages=memory(job),
        parts=step_time(job, cluster),
        bubble=bubble_share(job.parallel.pipeline, job.micro_batches),
        mfu=mfu(job, cluster, one.seconds),
        tokens_per_s=job.step_tokens / one.seconds,
        length=whole,
        ramp=ramp_table(config, job, cluster, inputs.tokens) if inputs.tokens is not None else [],
        ramp_line=batches.describe(inputs.tokens) if inputs.tokens is not None else None,
        checkpoint=checkpoint(config, job, cluster, inputs.tokens),
        cost=cost,
        launch=launch_line(path, settings, cluster, whole.seconds if whole is not None else None),
    )


def make(inputs: Inputs, path: str, overrides: Sequence[str]) -> Plan:
    """Plan a run.

    Args:
        inputs: what is planned.
        path: of the configuration, for the launch line.
        overrides: given with it.
    """
    config, cluster = inputs.config, inputs.cluster
    train, model = config.train, config.model
    chunk = config.kernels.loss_chunk
    zero = config.deepspeed.get("zero_optimization", {})
    bucket = int(zero["reduce_bucket_size"]) if "reduce_bucket_size" in zero else None
    anywhere = Job(
        model, inputs.vocab_size, 1, train.global_batch, 1, precision=config.precision, loss_chunk=chunk, bucket=bucket
    )
    asked, problem = None, None
    try:
        job = Job(
            model, inputs.vocab_size, train.micro_batch, train.global_batch, cluster.world_size, config.parallel,
            config.precision, chunk, bucket,
        )  # fmt: skip
        asked = in_full(inputs, choice(job, cluster), path, overrides)
    except UserError as error:
        problem = str(error)
    found = choices(anywhere, cluster)
    others = ranked(found)
    best = in_full(inputs, others[0], path, [*overrides, *others[0].overrides()]) if others else None
    return Plan(
        inputs=inputs,
        parameters=parameter_count(model, inputs.vocab_size),
        flops={
            "causal": flops_per_token(model, inputs.vocab_size),
            "full": flops_per_token(model, inputs.vocab_size, "full"),
        },
        asked=asked,
        problem=problem,
        others=others,
        recommended=best,
        advice=[] if others else advice(anywhere, cluster, found),
    )
