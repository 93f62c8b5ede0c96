"""What is read, in which pieces, how long, and when it is validated and saved."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from data_prep.errors import UserError
from pipeline.config.fields import NotNegative, Positive


class DataConfig(Settings):
    """The token dataset, or several.

    Attributes:
        path: folder made by `data-prep run` (it holds manifest.json), or a mixture made by `data-prep mix` (*.json).
        verify: hash every shard before training; what was verified and did not change since is not hashed again.
        allow_changed: continue a run although its data changed, if the new data's digest begins with this.
        skip: ranges [first, end) of sample numbers that are left out, as after a loss spike (PaLM 5.1). A checkpoint
            keeps them; ranges behind its cursor change nothing.
    """

    path: str
    verify: bool = True
    allow_changed: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None = None
    skip: list[tuple[NotNegative, Positive]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _ranges_hold_samples(self) -> Self:
        for first, end in self.skip:
            if end <= first:
                raise ValueError(f"the range [{first}, {end}) of skip holds no sample")
        return self


class BatchRampConfig(Settings):
    """A global batch that grows linearly with the tokens consumed (GPT-3 B: from 32k tokens, over 4-12 billion).

    Attributes:
        start: samples of the first global batch, in the unit of `train.global_batch`; less than one micro-batch on
            each data-parallel rank is raised to that, and said.
        tokens: tokens over which it grows to `train.global_batch`.
    """

    start: Positive
    tokens: Positive


class BatchConfig(Settings):
    """In which pieces is trained.

    Attributes:
        global_batch: samples per optimizer step.
        micro_batch: samples per rank and forward pass.
        log_every: steps between log lines.
    """

    global_batch: Positive
    micro_batch: Positive
    log_every: Positive = 10


class PretrainBatchConfig(BatchConfig):
    """A sample is a window of `model.sequence_length` tokens.

    Attributes:
        tokens: tokens to train on in all; rounded up to whole steps.
        epochs: instead of `tokens`, passes over all windows of the data (GPT-1 4.1); rounded up to whole steps.
        batch_ramp: smaller batches at the beginning.
    """

    tokens: Positive | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    batch_ramp: BatchRampConfig | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.tokens is None) == (self.epochs is None):
            raise ValueError("give exactly one of tokens and epochs")
        if self.batch_ramp is not None and self.batch_ramp.start > self.global_batch:
            raise ValueError(f"batch_ramp.start {self.batch_ramp.start} is more than global_batch {self.global_batch}")
        return self


class ValidationConfig(Settings):
    """Validation on fixed examples, the same for every topology.

    Attributes:
        every: steps between validations; the last step is always validated.
    """

    every: Positive = 100


class PretrainValidationConfig(ValidationConfig):
    """Validation loss over fixed windows.

    Attributes:
        tokens: at most this many tokens from the start of the validation split.
    """

    tokens: Positive = 1_000_000


class CheckpointConfig(Settings):
    """When checkpoints are written, which are kept, and where copies go.

    Attributes:
        every: steps between checkpoints; the last step always gets one.
        keep_last: checkpoints kept, here and among the copies.
        background: write beside the training, which then stands still only while the state is copied to memory.
        upload: path or URL (fsspec) of a folder for copies of all runs' checkpoints, in a folder of the run's name
            each; a run folder without checkpoints is restored from there.
    """

    every: Positive = 100
    keep_last: Positive = 2
    background: bool = True
    upload: str | None = None

    @property
    def milestone(self) -> int | None:
        """Distance between checkpoints that are kept for ever, in the unit of the schedules."""
        return None


class PretrainCheckpointConfig(CheckpointConfig):
    """Checkpoints of pretraining.

    Attributes:
        milestone_tokens: the first checkpoint at or beyond each multiple of so many tokens is kept for ever.
    """

    milestone_tokens: Positive | None = None

    @property
    def milestone(self) -> int | None:
        """Distance between checkpoints that are kept for ever, in tokens."""
        return self.milestone_tokens


def whole_micro_batches(global_batch: int, micro_batch: int, data_parallel: int, where: str) -> int:
    """Micro-batches of each data-parallel rank in a global batch.

    Raises:
        UserError: it cannot be cut into whole ones.
    """
    per_pass = micro_batch * data_parallel
    if global_batch % per_pass:
        raise UserError(
            f"train.global_batch {global_batch} is not a multiple of train.micro_batch {micro_batch} x "
            f"{data_parallel} data-parallel ranks",
            where=where,
            fix=f"use a multiple of {per_pass}, another micro_batch or another number of ranks",
        )
    return global_batch // per_pass
