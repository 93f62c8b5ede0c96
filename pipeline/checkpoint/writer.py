"""Saving and loading by all ranks together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_prep.errors import UserError
from pipeline.checkpoint.store import (
    NATIVE,
    TOKENIZER,
    WEIGHTS,
    CheckpointManifest,
    CheckpointStore,
    flush_files,
    open_checkpoint,
)
from pipeline.distributed import World, on_main, together
from pipeline.train.engine import Engine

Describe = Callable[[dict[str, dict[str, object]]], CheckpointManifest]


def save(
    engine: Engine, checkpoints: CheckpointStore, world: World, step: int, tokenizer: bytes, describe: Describe
) -> Path:
    """Write the checkpoint of a step; collective.

    Args:
        engine: holds the state.
        checkpoints: where it goes.
        world: this process among all.
        step: optimizer steps done.
        tokenizer: content of the tokenizer.json that the model's ids refer to.
        describe: files -> manifest; called on rank 0.

    Raises:
        UserError: the disk is full (on every rank; the earlier checkpoints are untouched).
    """
    tmp = on_main(world, lambda: checkpoints.begin(step))
    together(lambda: engine.save_native(tmp / NATIVE))
    weights = engine.canonical_weights()

    def write_canonical() -> None:
        save_file(weights, tmp / WEIGHTS)
        (tmp / TOKENIZER).write_bytes(tokenizer)

    on_main(world, write_canonical)
    # Ranks of one host see the same files: one of them makes all durable.
    together(lambda: flush_files(tmp) if world.local_rank == 0 else None)
    dist.barrier()
    return on_main(world, lambda: checkpoints.commit(tmp, describe))


def load(engine: Engine, folder: Path) -> None:
    """Load the native shards of a verified checkpoint written under the same topology; collective."""
    together(lambda: engine.load_native(folder / NATIVE))


def load_weights(module: nn.Module, path: str, expected_model: dict[str, object]) -> CheckpointManifest:
    """Fill a plain module with the canonical weights of a checkpoint.

    Args:
        module: parameters named as in the checkpoint.
        path: checkpoint folder (or `latest`).
        expected_model: the shape that `module` was built with.

    Raises:
        UserError: not there, damaged, or of another model shape.
    """
    folder, manifest = open_checkpoint(path)
    check_model(manifest, expected_model, str(folder))
    weights: dict[str, Tensor] = load_file(folder / WEIGHTS)
    module.load_state_dict(weights)
    return manifest


def check_model(manifest: CheckpointManifest, expected: dict[str, object], where: str) -> None:
    """Raise `UserError` unless the checkpoint holds a model of the expected shape; names what differs."""
    keys = sorted({*manifest.model, *expected})
    wrong = [
        f"{key} {manifest.model.get(key)} (here {expected.get(key)})"
        for key in keys
        if manifest.model.get(key) != expected.get(key)
    ]
    if wrong:
        raise UserError(
            "the checkpoint is of another model shape: " + ", ".join(wrong),
            where=where,
            fix="use a checkpoint of this model, or set the model section to the checkpoint's values",
        )
