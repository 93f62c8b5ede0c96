"""A run from its first token to its last: steps, the batch ramp, days, cost, checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.config.cluster import ClusterConfig
from pipeline.config.schema import PretrainConfig
from pipeline.model.sizes import parameter_count
from pipeline.plan.job import Job
from pipeline.plan.time import step_seconds
from pipeline.train.batch_schedule import BatchSchedule
from pipeline.train.schedule import learning_rate

CHECKPOINT_BYTES = 12
"""Of a parameter in a checkpoint: fp32 weight and two moments, whatever the precision."""


@dataclass(frozen=True)
class Length:
    """How long a run is.

    Attributes:
        tokens: trained on in all, whole steps.
        steps: optimizer steps.
        seconds: of training, without validation and checkpoints.
        ramp_steps: steps before the full batch.
        ramp_seconds: of those steps.
    """

    tokens: int
    steps: int
    seconds: float
    ramp_steps: int = 0
    ramp_seconds: float = 0.0


@dataclass(frozen=True)
class RampPoint:
    """A row of the batch-ramp table.

    Attributes:
        tokens: consumed before the step.
        step: steps done before it.
        batch: samples of the step.
        learning_rate: of the step.
        seconds: that the step takes.
    """

    tokens: int
    step: int
    batch: int
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk.

    Attributes:
        bytes: of one: fp32 weights and two moments.
        seconds: to write one.
        kept_bytes: of all that are kept, milestones included, and the one being written.
        share: of the run's time for which it stands still: while one is written, or, with `checkpoint.background`, as
            far as that takes longer than the steps between two.
    """

    bytes: int
    seconds: float
    kept_bytes: int
    share: float


def schedule_of(config: PretrainConfig, job: Job) -> BatchSchedule:
    """The global batch of the run on the ranks of the plan."""
    return BatchSchedule.of(config.train, job.data_parallel, job.model.sequence_length, config.train.batch_ramp)


def with_batch(job: Job, samples: int) -> Job:
    """The job with another global batch."""
    return replace(job, global_batch=samples)


def length(job: Job, cluster: ClusterConfig, batches: BatchSchedule, tokens: int) -> Length:
    """Steps and time of a run of `tokens`; every batch of the ramp takes its own time."""
    steps, consumed = batches.length(tokens)
    done, counts = 0, Counter[int]()
    for after in batches.steps(tokens):
        counts[(after - done) // batches.units_per_sample] += 1
        done = after
    on_ramp = sum(counts.values())
    ramp_seconds = sum(number * step_seconds(with_batch(job, batch), cluster) for batch, number in counts.items())
    full = (steps - on_ramp) * step_seconds(job, cluster)
    return Length(consumed, steps, ramp_seconds + full, on_ramp, ramp_seconds)


def ramp_table(config: PretrainConfig, job: Job, cluster: ClusterConfig, tokens: int, rows: int = 6) -> list[RampPoint]:
    """The ramp at even distances in tokens, and the first step behind it; empty without a ramp."""
    batches = schedule_of(config, job)
    if batches.ramp is None:
        return []
    total = batches.whole_steps(tokens)
    marks = [batches.ramp.tokens * row // (rows - 1) for row in range(rows)]
    starts: Iterable[int] = [0, *batches.steps(tokens)]
    found: list[RampPoint] = []
    for step, consumed in enumerate(starts):
        if marks and consumed >= marks[0]:
            while marks and consumed >= marks[0]:
                marks.pop(0)
            batch = batches.samples(consumed)
            after = consumed + batch * batches.units_per_sample
            rate = learning_rate(after, config.optimizer.lr, config.schedule, total)
            found.append(RampPoint(consumed, step, batch, rate, step_seconds(with_batch(job, batch), cluster)))
    return found


def checkpoint(config: PretrainConfig, job: Job, cluster: ClusterConfig, tokens: int | None = None) -> Checkpoint:
    """Size and time of a checkpoint, and what all of them take; `tokens` are those of the run, if known."""
    settings = config.checkpoint
    size = parameter_count(job.model, job.vocab_size) * CHECKPOINT_BYTES
    seconds = size / (cluster.storage_gb * 1e9)
    between = settings.every * step_seconds(job, cluster)
    stalled = max(0.0, seconds - between) if settings.background else seconds
    milestones = tokens // settings.milestone if tokens is not None and settings.milestone is not None else 0
    return Checkpoint(size, seconds, size * (settings.keep_last + milestones + 1), stalled / (stalled + between))
