"""The optimizer and its learning rate."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative, Positive, Share


class OptimizerConfig(Settings):
    """AdamW. Weight decay applies to tensors of two and more dimensions (GPT-1's released code).

    Attributes:
        lr: peak learning rate.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: decoupled.
        grad_clip: largest global gradient norm; 0 switches clipping off.
    """

    lr: Annotated[float, Field(gt=0)]
    betas: tuple[Share, Share] = (0.9, 0.95)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    grad_clip: Annotated[float, Field(ge=0)] = 1.0


class ScheduleConfig(Settings):
    """Learning rate as a function of what was consumed; constant behind the end of the decay.

    Attributes:
        kind: shape of the decay from the peak: "cosine" (GPT-1, GPT-3), "linear", "wsd" (warm-up, stable, then a linear
            decay; MiniCPM 4) or "constant".
        final_ratio: learning rate at the end of the decay, as a share of the peak.
        decay_share: with "wsd", and only there: share of the schedule that decays.
    """

    kind: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    final_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    decay_share: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _decay_share_of_wsd(self) -> Self:
        if (self.decay_share is not None) != (self.kind == "wsd"):
            raise ValueError('decay_share belongs to kind "wsd", which needs it')
        return self

    def bounds(self, total: int) -> tuple[int, int]:
        """(end of the linear warm-up, end of the decay) in consumed units, for a run of `total` units."""
        return 0, total


class PretrainScheduleConfig(ScheduleConfig):
    """Measured in tokens.

    Attributes:
        warmup_tokens: linear rise from 0.
        decay_tokens: where the decay ends; the end of the run if not given. Constant from there on.
    """

    warmup_tokens: NotNegative = 0
    decay_tokens: Positive | None = None

    def bounds(self, total: int) -> tuple[int, int]:
        """(end of the linear warm-up, end of the decay) in tokens."""
        return self.warmup_tokens, self.decay_tokens or total


class FinetuneScheduleConfig(ScheduleConfig):
    """Measured in shares of the run.

    Attributes:
        warmup_share: linear rise from 0 over this share of the run.
    """

    warmup_share: Share = 0.002

    def bounds(self, total: int) -> tuple[int, int]:
        """(end of the linear warm-up, end of the decay) in examples."""
        return round(self.warmup_share * total), total
