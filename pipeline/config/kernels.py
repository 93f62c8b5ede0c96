"""How a model is computed: settings that change speed and memory, and the numbers by rounding alone."""

from __future__ import annotations

from typing import Literal

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative

AttentionKernel = Literal["auto", "flash", "efficient", "math", "cudnn"]
"""Of `torch.nn.attention.SDPBackend`; "auto" leaves the choice to torch."""


class KernelConfig(Settings):
    """Kernels of a model.

    Attributes:
        attention: kernel of causal attention. Layers that need a mask (banded, documents) take what can do one.
        loss_chunk: tokens whose logits are held at once; they are computed again in the backward pass. 0 holds all,
            which is faster as long as tokens x vocabulary fit into memory.
    """

    attention: AttentionKernel = "auto"
    loss_chunk: NotNegative = 0
