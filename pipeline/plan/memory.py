"""Memory of a rank, by part.

Model states per parameter follow what DeepSpeed 0.19.8 holds with this project's settings (fp32 masters, moments and
gradient accumulation; 1910.02054, section 3, counts 16-bit gradients instead); activations follow Korthikanti et al.
2022 (2205.05198, section 4) without the attention matrix, which no kernel used here keeps. Tests measure both.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from pipeline.config.deepspeed import REDUCE_BUCKET
from pipeline.model.sizes import parameter_count
from pipeline.plan.job import Job

LIVE = 1_000_000_000
"""Parameters that ZeRO-3 keeps gathered at most (`stage3_max_live_parameters`)."""
LOGIT_BYTES = 12
"""Per token and row of the head: fp32 log-probabilities, and two fp32 gradients of them in the backward pass."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank.

    Attributes:
        weights: used in forward and backward.
        gradients: accumulated ones, and those of the micro-batch at hand.
        optimizer: fp32 master weights and two moments.
        activations: kept for the backward pass.
        recomputed: activations of what is recomputed at once; logits are gone then, only the larger counts.
        logits: of the head and its gradients.
        buffers: of collectives; activations are gone then, only the larger counts.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    recomputed: int
    logits: int
    buffers: int

    @property
    def states(self) -> int:
        """What stays between steps, and gradients."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """The peak."""
        return self.states + max(self.activations + max(self.logits, self.recomputed), self.buffers)

    def parts(self) -> dict[str, int]:
        """Name -> bytes, the peak last."""
        return {**{one.name: getattr(self, one.name) for one in fields(self)}, "total": self.total}


def stage_parameters(job: Job, stage: int) -> int:
    """Parameters that one rank of a pipeline stage works with, padded rows included.

    The first and the last stage hold the tied embedding, each its own copy. With t tensor-parallel ranks, matrices and
    the biases of column-parallel layers are divided by t; norms, positions and other biases are not (1909.08053, 3).
    """
    model, tensor, stages = job.model, job.parallel.tensor, job.parallel.pipeline
    if job.parallel.model_parallel == 1:
        return parameter_count(model, job.rows)
    d, inner = model.d_model, job.inner
    block = (4 * d * inner + 3 * inner + 8 * d * d + 4 * d) // tensor + 6 * d
    count = job.stage_blocks * block
    if stage in (0, stages - 1):
        count += job.rows * d // tensor
    if stage == 0:
        count += model.sequence_length * d
    if stage == stages - 1 and model.norm == "pre":
        count += 2 * d
    return count


def state_bytes(job: Job, parameters: int) -> tuple[int, int, int, int]:
    """(weights, gradients, optimizer, buffers) of so many parameters on one rank.

    With n data-parallel ranks, bytes per parameter:

        bf16, fp16  stage 1: 2 weights, 4 accumulated + 2 gradient, 12/n; stage 2: 2, 6/n, 12/n; stage 3: 2/n, 6/n, 12/n
        fp32        stage 0: 4, 4, 8; stages 1 and 2: 4, 4 + 4/n, 12/n; stage 3: 4/n, 8/n, 12/n
    """
    stage, copies, element = job.parallel.zero_stage, job.data_parallel, job.element
    share = -(-parameters // copies)
    long = job.precision == "fp32"
    whole = min(REDUCE_BUCKET, parameters)
    held = whole if job.bucket is None else job.bucket
    bucket = min(held, parameters)
    if stage == 0:
        return 4 * parameters, 4 * parameters, 8 * parameters, 4 * whole
    optimizer = 12 * share
    if stage == 1:
        gradients = 4 * parameters + (4 * share if long else 2 * parameters)
        # In 16 bits a bucket of fp32 gradients is copied, and copied again in the precision it is sent in.
        return element * parameters, gradients, optimizer, 4 * bucket if long else 6 * whole
    pieces = element * (held + bucket)  # a bucket is set up whole, and copied when it is reduced
    if stage == 2:
        gradients = 4 * parameters + 4 * share if long else 6 * share
        return element * parameters, gradients, optimizer, pieces
    gathered = element * min(LIVE, parameters)
    return element * share, (4 + element) * share, optimizer, pieces + gathered


def block_bytes(job: Job, *, feed_forward: bool = True) -> int:
    """Activations that one block keeps of a micro-batch.

    Elements per token: inputs and outputs of both norms 4 d; queries, keys, values and the output of attention
    4 inner / t; feed-forward before and after GELU 8 d / t; fp32 log-sum-exp per head and statistics per norm. Two
    one-byte dropout masks. In 16 bits and with inner = d that is s b h (10 + 24 / t) of the paper, or 34 with t = 1.

    Args:
        job: the run.
        feed_forward: whether the feed-forward half keeps its own; its input is always kept.
    """
    model, tensor = job.model, job.parallel.tensor
    d = model.d_model
    if model.kind == "lstm":  # cuDNN keeps four gates, cell and state
        units = model.lstm_units
        return job.tokens * (job.element * 7 * units + (units if model.dropout else 0))
    wide = 4 * job.inner + (8 * d if feed_forward else 0)
    token = job.element * (4 * d + wide // tensor) + 4 * (model.n_head // tensor) + 4 * 4
    if model.dropout:
        token += 2 * d
    mask = job.element * model.sequence_length * job.tokens if model.document_mask else 0
    return job.tokens * token + mask


def activation_bytes(job: Job, in_flight: int, last: bool) -> tuple[int, int]:
    """Activations of one stage: (what the micro-batches in flight keep, what is recomputed at once).

    Args:
        job: the run.
        in_flight: micro-batches whose backward pass is still to come.
        last: whether the stage holds the head; its input, and that of the final norm, are kept.
    """
    blocks, setting = job.stage_blocks, job.parallel.activation_checkpointing
    d = job.model.d_model
    entry = job.element * job.tokens * d
    whole = block_bytes(job)
    if setting == "none":
        kept, recomputed = blocks * whole, 0
    elif setting == "selective":
        kept = blocks * block_bytes(job, feed_forward=False)
        recomputed = whole - block_bytes(job, feed_forward=False)
    else:
        every = 1 if setting == "full" else int(setting)
        light = -(-blocks // every)
        kept, recomputed = light * entry + (blocks - light) * whole, whole
    final = (2 * entry + 8 * job.tokens if job.model.norm == "pre" else entry) if last else 0
    return in_flight * kept + final, recomputed


def stage_memory(job: Job, stage: int) -> Memory:
    """Memory of a rank of a pipeline stage. 1F1B holds p - stage micro-batches there (2104.04473, 2.2.1)."""
    stages = job.parallel.pipeline
    last = stage == stages - 1
    weights, gradients, optimizer, buffers = state_bytes(job, stage_parameters(job, stage))
    chunk = min(job.loss_chunk or job.tokens, job.tokens)
    return Memory(
        weights,
        gradients,
        optimizer,
        *activation_bytes(job, min(stages - stage, job.micro_batches), last),
        LOGIT_BYTES * chunk * job.rows // job.parallel.tensor if last else 0,
        buffers if job.data_parallel > 1 or job.parallel.zero_stage else 0,
    )


def memory(job: Job) -> list[Memory]:
    """Memory of a rank of each pipeline stage."""
    return [stage_memory(job, stage) for stage in range(job.parallel.pipeline)]


def peak(job: Job) -> Memory:
    """Memory of a rank of the stage that needs most."""
    stages = job.parallel.pipeline
    # Between the ends stages hold the same parameters and ever fewer activations.
    return max((stage_memory(job, stage) for stage in {0, min(1, stages - 1), stages - 1}), key=lambda one: one.total)
