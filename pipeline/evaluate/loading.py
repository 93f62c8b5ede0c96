"""Opening what is evaluated: a pretraining checkpoint of any topology, or a folder of a Hugging Face model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.hf_folder import is_model, model_digest, weights_digest
from pipeline.checkpoint.hugging_face import read_folder, read_shape
from pipeline.checkpoint.language_model import language_model
from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import TOKENIZER, open_checkpoint
from pipeline.model.gpt import GPT


@dataclass(frozen=True)
class LoadedModel:
    """A model and where it comes from.

    Attributes:
        model: in fp32 and evaluation mode.
        tokenizer: its tokenizer.
        vocab_size: number of ids that have a probability; those behind have none and can only be context.
        digest: sha256 (hex) of all that decides its numbers.
        lineage: stage name -> digest, for everything that it came from, itself included.
        step: optimizer steps done.
        consumed: tokens trained on; 0 for a model of theirs, which does not say.
    """

    model: GPT
    tokenizer: Tokenizer
    vocab_size: int
    digest: str
    lineage: dict[str, str]
    step: int = 0
    consumed: int = 0


def load_model(path: str, device: torch.device) -> LoadedModel:
    """Open a checkpoint, or a folder with config.json, model.safetensors and a tokenizer.

    Raises:
        UserError: it is missing, damaged or not a language model.
    """
    folder = Path(path).resolve()
    if is_model(folder):
        shape, scored, tokenizer_json = read_shape(folder)
        tokenizer = Tokenizer(tokenizer_json, path)
        model = GPT(shape.model_copy(update={"dropout": 0.0}), tokenizer.vocab_size)
        model.load_state_dict(read_folder(folder, tokenizer))
        lineage = {"imported": weights_digest(folder)}
        return LoadedModel(model.to(device).eval(), tokenizer, scored, model_digest(path), lineage)
    folder, manifest = open_checkpoint(path)
    model = GPT(*language_model(manifest, dropout=0.0, where=path))
    model.load_state_dict(read_weights(folder, manifest))
    return LoadedModel(
        model=model.to(device).eval(),
        tokenizer=Tokenizer.load(str(folder / TOKENIZER)),
        vocab_size=model.vocab_size,
        digest=manifest.digest,
        lineage={**manifest.lineage, manifest.kind: manifest.digest},
        step=manifest.cursor.step,
        consumed=manifest.cursor.consumed,
    )
