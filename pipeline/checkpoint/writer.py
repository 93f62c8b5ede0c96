"""Saving and loading by all ranks together."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_prep.errors import UserError, full_disk
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
T = TypeVar("T")


def _on_disk(folder: Path, work: Callable[[], T]) -> T:
    """Run `work`, which writes below `folder`; a full disk becomes a `UserError`.

    torch and safetensors report it as errors of their own, which hold the system's error or its text.
    """
    try:
        return work()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError):
                clear = full_disk(cause, str(folder))
            else:
                text = os.strerror(errno.ENOSPC)
                clear = full_disk(OSError(errno.ENOSPC, text), str(folder)) if text in str(cause) else None
            if clear is not None:
                raise clear from None
            cause = cause.__cause__ or cause.__context__
        raise


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
    tmp = on_main(world, lambda: _on_disk(checkpoints.folder, lambda: checkpoints.begin(step)))

    def write_canonical(weights: dict[str, Tensor]) -> None:
        save_file(weights, tmp / WEIGHTS)
        (tmp / TOKENIZER).write_bytes(tokenizer)

    try:
        together(lambda: _on_disk(tmp, lambda: engine.save_native(tmp / NATIVE)))
        weights = engine.canonical_weights()
        on_main(world, lambda: _on_disk(tmp, lambda: write_canonical(weights)))
        # Ranks of one host see the same files: one of them makes all durable.
        together(lambda: _on_disk(tmp, lambda: flush_files(tmp)) if world.local_rank == 0 else None)
        return on_main(world, lambda: checkpoints.commit(tmp, describe))
    except Exception:
        if world.is_main:
            shutil.rmtree(tmp, ignore_errors=True)
        raise


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
