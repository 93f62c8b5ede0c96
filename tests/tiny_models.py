"""Tiny models with random weights, in the forms in which evaluation opens them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from small_model import tokenizer_bytes

from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.pieces import copy_to_host, state_file, whole_weights, write_state
from pipeline.checkpoint.store import TOKENIZER, CheckpointManifest, CheckpointStore, Cursor, facts_of
from pipeline.config.schema import ModelConfig
from pipeline.model.gpt import GPT

LENGTH = 64
END = 1.5
"""What <|endoftext|> has on top of its random logit."""
KINDS: dict[str, dict[str, Any]] = {
    "pre-norm": {"n_head": 4},
    "post-norm": {"n_head": 4, "norm": "post"},
    "banded": {"n_head": 4, "attention": "alternating", "band_width": 5},
    "documents": {"n_head": 4, "document_mask": True},
    "banded documents": {"n_head": 4, "attention": "alternating", "band_width": 5, "document_mask": True},
    "lstm": {"kind": "lstm", "units": 24},
}
"""Settings of every kind of model."""


def random_model(kind: str, vocab_size: int = 300, seed: int = 0) -> GPT:
    """A model with weights so large that its predictions differ from position to position."""
    shape = {"n_layer": 3, "d_model": 32, "sequence_length": LENGTH, **KINDS[kind]}
    model = GPT(ModelConfig.model_validate(shape), vocab_size).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Blocks that outweigh the token embedding: else a tied head repeats the last token.
            parameter.normal_(std=0.4 if ".h." in name else 0.2, generator=generator)
            if ".ln_" in name and name.endswith("weight"):
                parameter += 1
    return model


def native_checkpoint(folder: Path, model: GPT) -> Path:
    """The model as a checkpoint of pretraining."""
    data = tokenizer_bytes()
    folder.mkdir(parents=True)
    checkpoints = CheckpointStore(folder, keep_last=1)
    tmp = checkpoints.begin(7)
    write_state(tmp / state_file(0), copy_to_host(whole_weights(dict(model.named_parameters()))))
    (tmp / TOKENIZER).write_bytes(data)
    manifest = CheckpointManifest(
        cursor=Cursor(7, 0, 700),
        kind="pretrain",
        seed=0,
        model=model.config.facts(model.vocab_size),
        data="",
        topology={},
        tokenizer_sha256=hashlib.sha256(data).hexdigest(),
        identity={},
        config_sha="",
        lineage={"shards": "aa"},
        tracking_run="",
        files={name: facts_of(tmp / name) for name in (state_file(0), TOKENIZER)},
    )
    return checkpoints.commit(tmp, manifest)


def hugging_face_folder(folder: Path, gpt1: bool = False) -> transformers.PreTrainedModel:
    """Writes a model of theirs, of GPT-2's class or GPT-1's, with our tokenizer."""
    folder.mkdir(parents=True)
    (folder / TOKENIZER).write_bytes(tokenizer_bytes())
    tokenizer = Tokenizer(tokenizer_bytes())
    shape = {"vocab_size": tokenizer.vocab_size, "n_positions": LENGTH, "n_embd": 32, "n_layer": 3, "n_head": 4}
    ends = {"bos_token_id": tokenizer.eot_id, "eos_token_id": tokenizer.eot_id, "initializer_range": 0.2}
    torch.manual_seed(0)
    if gpt1:
        model: Any = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**shape, **ends))
    else:
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, **ends))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0 if "ln" in name and name.endswith("weight") else 0.0, 0.1)
        if not gpt1:  # <|endoftext|> is now and then among the likeliest
            bias = model.transformer.ln_f.bias
            model.transformer.wte.weight[tokenizer.eot_id] += bias * (END / bias.square().sum())
    model.save_pretrained(folder)
    return model.eval()
