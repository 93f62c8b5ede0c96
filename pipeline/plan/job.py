"""What the formulas see of a run: shape, topology, batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.config.model import ModelConfig
from pipeline.config.parallel import ParallelConfig, Precision
from pipeline.config.train import whole_micro_batches


@dataclass(frozen=True)
class Job:
    """A model on so many ranks.

    Attributes:
        model: the shape.
        vocab_size: number of token ids.
        micro_batch: samples per rank and forward pass.
        global_batch: samples per optimizer step.
        world_size: ranks.
        parallel: how the model is spread over them.
        precision: of weights and activations in forward and backward.
        loss_chunk: tokens whose logits are held at once; 0 for all.
        bucket: elements of ZeRO's reduction buckets, if configured (`deepspeed.zero_optimization.reduce_bucket_size`).

    Raises:
        UserError: ranks, batch or vocabulary cannot be dealt out evenly.
    """

    model: ModelConfig
    vocab_size: int
    micro_batch: int
    global_batch: int
    world_size: int = 1
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    precision: Precision = "bf16"
    loss_chunk: int = 0
    bucket: int | None = None

    def __post_init__(self) -> None:
        self.parallel.check_ranks(self.precision, self.world_size, "cuda", self.rows)
        whole_micro_batches(self.global_batch, self.micro_batch, self.data_parallel, "plan")

    @property
    def rows(self) -> int:
        """Of the embedding, padding included."""
        return self.model.padded(self.vocab_size)

    @property
    def data_parallel(self) -> int:
        """Copies of the model."""
        return self.parallel.data_parallel(self.world_size)

    @property
    def micro_batches(self) -> int:
        """Of one copy in one optimizer step."""
        return self.global_batch // (self.micro_batch * self.data_parallel)

    @property
    def tokens(self) -> int:
        """Of one micro-batch."""
        return self.micro_batch * self.model.sequence_length

    @property
    def step_tokens(self) -> int:
        """Of one optimizer step."""
        return self.global_batch * self.model.sequence_length

    @property
    def element(self) -> int:
        """Bytes of a weight or activation in forward and backward."""
        return 4 if self.precision == "fp32" else 2

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.model.n_head * self.model.head_width

    @property
    def stage_blocks(self) -> int:
        """Blocks of one pipeline stage."""
        return self.model.n_layer // self.parallel.pipeline
