"""What is done to a model's blocks from outside: recomputing activations, compiling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from data_prep.errors import UserError
from pipeline.config.parallel import ParallelConfig
from pipeline.model.gpt import Block


def parallelize(module: nn.Module, config: ParallelConfig) -> None:
    """Apply `activation_checkpointing` and `compile` to every block of a module, in place; names stay as they are.

    Args:
        module: a whole model, or the stage of a pipeline.
        config: gives both settings.

    Raises:
        UserError: something is to be done to blocks and the module has none.
    """
    if config.activation_checkpointing == "none" and not config.compile:
        return
    blocks = [part for part in module.modules() if isinstance(part, Block)]
    if not blocks:
        raise UserError(
            "this model has no transformer blocks to recompute or compile",
            where="config",
            fix="set parallel.activation_checkpointing to none and parallel.compile to false",
        )
    for number, block in enumerate(blocks):
        recomputed = _recomputed(block, number, config.activation_checkpointing)
        if recomputed is not None:
            _replace_forward(recomputed, partial(checkpoint, recomputed.forward, use_reentrant=False))
        if config.compile:
            _replace_forward(block, torch.compile(block.forward))


def _recomputed(block: Block, number: int, setting: str | int) -> nn.Module | None:
    """The part of the block that keeps none of its activations."""
    if setting == "selective":
        return block.mlp
    every = {"none": 0, "full": 1}.get(setting, setting) if isinstance(setting, str) else setting
    assert isinstance(every, int)
    return block if every and number % every == 0 else None


def _replace_forward(module: nn.Module, forward: Callable[..., Any]) -> None:
    # On the instance: neither parameter names nor the hooks of ZeRO-3 on the module notice.
    module.forward = forward
