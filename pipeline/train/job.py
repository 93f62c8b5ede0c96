"""What is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config.schema import BatchRampConfig
from pipeline.data.batches import Samples
from pipeline.train.engine import Engine

if TYPE_CHECKING:
    from pipeline.train.probe import Probe
    from pipeline.train.samples import TextSamples

Metrics = Callable[[Mapping[str, float]], dict[str, float]]
"""Additive sums -> named metrics."""


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        kind: "pretrain" or "finetune".
        tokenizer: content of the tokenizer.json that the token ids refer to.
        model: shape of the model, `vocab_size` included.
        samples: the training samples.
        validate: metrics of the validation set; collective.
        units: tokens or examples to train on, rounded up to whole steps.
        metrics: how the sums of a training step become metrics.
        lineage: stage name -> digest of everything the weights come from.
        parameters: of the model, for what its checkpoints will take.
        batch_ramp: smaller batches at the beginning.
        skip: ranges of samples to leave out.
        allow_changed: go on from a checkpoint of other data if the fingerprint of these samples begins with this.
        flops_per_unit: MFU convention -> FLOPs of forward and backward pass for one unit.
        texts: text samples of the model.
        probe: scores of the model on other tasks than its own.
        validate_every: steps between validations, instead of the setting.
        selects: validation metric, the higher the better, whose best checkpoint is kept as `best`.
        result: which checkpoint is what the run made.
    """

    kind: str
    tokenizer: bytes
    model: dict[str, Any]
    samples: Samples
    validate: Callable[[Engine], dict[str, float]]
    units: int
    metrics: Metrics
    lineage: dict[str, str]
    parameters: int = 0
    batch_ramp: BatchRampConfig | None = None
    skip: tuple[tuple[int, int], ...] = ()
    allow_changed: str | None = None
    flops_per_unit: Mapping[str, float] = field(default_factory=dict)
    texts: TextSamples | None = None
    probe: Probe | None = None
    validate_every: int | None = None
    selects: str | None = None
    result: Literal["last", "best"] = "last"
