"""What is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.config.schema import BatchRampConfig
from pipeline.data.batches import Samples
from pipeline.train.validation import FixedSet

if TYPE_CHECKING:
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
        validation: the validation set.
        units: tokens or examples to train on, rounded up to whole steps.
        metrics: how sums become metrics, for training and validation alike.
        lineage: stage name -> digest of everything the weights come from.
        parameters: of the model, for what its checkpoints will take.
        batch_ramp: smaller batches at the beginning.
        skip: ranges of samples to leave out.
        allow_changed: go on from a checkpoint of other data if the fingerprint of these samples begins with this.
        flops_per_unit: MFU convention -> FLOPs of forward and backward pass for one unit.
        texts: text samples of the model.
    """

    kind: str
    tokenizer: bytes
    model: dict[str, Any]
    samples: Samples
    validation: FixedSet
    units: int
    metrics: Metrics
    lineage: dict[str, str]
    parameters: int = 0
    batch_ramp: BatchRampConfig | None = None
    skip: tuple[tuple[int, int], ...] = ()
    allow_changed: str | None = None
    flops_per_unit: Mapping[str, float] = field(default_factory=dict)
    texts: TextSamples | None = None
