"""Initial weights that depend on (seed, parameter name) alone, so that they are the same for every topology."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.config.model import ModelConfig
from pipeline.model.parts import canonical_rows

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


def initial_value(name: str, shape: Sequence[int], config: ModelConfig, seed: int) -> Tensor:
    """The initial value of a whole parameter, float32 on the CPU: N(0, std) for matrices, 1 for gains, 0 for biases.

    Args:
        name: canonical name.
        shape: of the whole parameter, without padding.
        config: the model's shape.
        seed: of the run.
    """
    if len(shape) >= 2:
        draw = torch.empty(*shape, dtype=torch.float32, device="cpu")
        return draw.normal_(0.0, parameter_std(name, config), generator=keyed_generator(seed, name))
    is_bias = name.rpartition(".")[2].startswith("bias")
    return torch.full(tuple(shape), 0.0 if is_bias else 1.0, dtype=torch.float32, device="cpu")


@torch.no_grad()
def initialize(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Fill every parameter in place with its `initial_value`; padded rows become 0 and stay so."""
    for name, parameter in model.named_parameters():
        rows = canonical_rows(parameter)
        if rows is None:
            parameter.copy_(initial_value(name, parameter.shape, config, seed))
        else:
            parameter.zero_()
            parameter[:rows].copy_(initial_value(name, (rows, *parameter.shape[1:]), config, seed))
