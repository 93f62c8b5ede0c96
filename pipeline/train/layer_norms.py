"""The gradient norm of each layer, on request."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from deepspeed.utils import safe_get_full_grad
from torch import Tensor, nn


@runtime_checkable
class LayerWatcher(Protocol):
    """An engine that fills `StepResult.layer_norms`.

    Attributes:
        watch_layers: whether it does in the next step; it costs a reduction of every gradient.
    """

    watch_layers: bool


def layer_of(parameter: str) -> str:
    """`transformer.h.3.attn.c_attn.weight` -> `transformer.h.3`, `transformer.wte.weight` -> `transformer.wte`."""
    path = parameter.split(".")
    numbered = next((place for place, part in enumerate(path) if part.isdigit()), len(path) - 2)
    return ".".join(path[: numbered + 1])


def layer_norms(module: nn.Module, loss_scale: float) -> dict[str, Tensor]:
    """Layer -> L2 norm of its gradient before clipping, a float64 scalar on the device; collective.

    Call between the last backward pass and the optimizer step. Squared they add up to the square of the global norm.

    Args:
        module: as DeepSpeed trains it, under any ZeRO stage.
        loss_scale: by which the gradients are multiplied.
    """
    squares: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        gradient = safe_get_full_grad(parameter)
        if gradient is None:  # takes no part in the loss
            continue
        square = gradient.detach().double().square().sum() / loss_scale**2
        layer = layer_of(name)
        squares[layer] = squares[layer] + square if layer in squares else square
    return {layer: torch.sqrt(square) for layer, square in squares.items()}
