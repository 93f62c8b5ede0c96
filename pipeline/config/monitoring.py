"""What is seen of a run while it goes: figures, text samples, profiles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative, Positive


class LogConfig(Settings):
    """What a log line holds beside the usual; how often one is written is `train.log_every`.

    Attributes:
        per_layer: also the gradient norm of every layer.
        peak_flops: dense FLOP/s of one device, of which MFU is a share; known by name for A100, H100, H200 (bf16)
            if not given. Without a peak there is no MFU.
    """

    per_layer: bool = False
    peak_flops: Annotated[float, Field(gt=0)] | None = None


class SamplesConfig(Settings):
    """Texts that the model continues, to be read by people.

    Attributes:
        every: steps between samples; the last step always gives some.
        prompts: what is continued.
        tokens: tokens to add to each.
        temperature: of the softmax; 0 takes the likeliest token.
        seed: of the draw, the same at every step.
    """

    every: Positive
    prompts: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    tokens: Positive = 64
    temperature: Annotated[float, Field(ge=0)] = 0.8
    seed: int = 0


class ProfileConfig(Settings):
    """A window of steps under the profiler; its files go to `profile/` of the run folder.

    Attributes:
        start: optimizer steps before the first one that is profiled.
        steps: how many are profiled.
        memory: also a snapshot of the CUDA allocator's history over the window.
    """

    start: NotNegative = 10
    steps: Positive = 3
    memory: bool = False
