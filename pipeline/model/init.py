"""Initial weights that depend on (seed, parameter name) alone, so that they are the same for every topology."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn

from pipeline.config.schema import ModelConfig

STD = 0.02
"""Standard deviation of weights (GPT-1 4.1; GPT-2 code)."""


def keyed_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator seeded by a hash of (seed, name)."""
    value = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(value[:8], "little") >> 1)


def parameter_std(name: str, config: ModelConfig) -> float:
    """Standard deviation of a weight matrix.

    Projections into the residual stream are scaled by 1/sqrt(N), N = number of residual layers = 2 n_layer (GPT-2 2.3);
    GPT-1 (post-norm) has no such scaling. Positions have their own value (0.01 in GPT-2's code).
    """
    if name.endswith("wpe.weight"):
        return config.position_std
    if name.endswith("c_proj.weight") and config.norm == "pre":
        return STD / math.sqrt(2 * config.n_layer)
    return STD


@torch.no_grad()
def initialize(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Fill every parameter in place: N(0, std) for matrices, 1 for norm gains, 0 for biases."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            draw = torch.empty(parameter.shape, dtype=torch.float32)
            draw.normal_(0.0, parameter_std(name, config), generator=keyed_generator(seed, name))
            parameter.copy_(draw)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.fill_(1.0)
