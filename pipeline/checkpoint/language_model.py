"""The shape of the language model in a checkpoint."""

from __future__ import annotations

from data_prep.errors import UserError
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.config.schema import ModelConfig


def language_model(manifest: CheckpointManifest, dropout: float, where: str) -> tuple[ModelConfig, int]:
    """(shape of the pretrained model with another dropout, entries of its vocabulary).

    Args:
        manifest: of the checkpoint.
        dropout: probability to use instead of the one that it was trained with.
        where: the setting or path that named the checkpoint, for the error.

    Raises:
        UserError: the checkpoint is not one of a language model.
    """
    if manifest.kind != "pretrain":
        raise UserError(f"this checkpoint was written by {manifest.kind}", where=where, fix="give a pretraining one")
    shape = dict(manifest.model)
    vocab_size = int(shape.pop("vocab_size"))
    return ModelConfig.model_validate({**shape, "dropout": dropout}), vocab_size


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
