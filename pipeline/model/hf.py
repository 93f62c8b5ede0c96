"""Our models as those of Hugging Face `transformers`, and back: settings, names and layouts of weights.

`GPT2LMHeadModel` is our pre-norm GPT, `OpenAIGPTLMHeadModel` our post-norm one. Their linear layers are stored as
[in, out], ours as [out, in]; their fused projection is ordered (query, key, value), each by head, ours by head, each
(query, key, value).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from data_prep.errors import UserError
from pipeline.config.model import ModelConfig
from pipeline.model.gpt import EMBEDDING, GPT, NORM_EPS

GPT2, GPT1 = "gpt2", "openai-gpt"
"""`model_type` of pre-norm and of post-norm models."""
_ARCHITECTURE = {GPT2: "GPT2LMHeadModel", GPT1: "OpenAIGPTLMHeadModel"}
_PREFIX = "transformer."
_RENAMED = {GPT2: {}, GPT1: {"wte": "tokens_embed", "wpe": "positions_embed"}}
_LINEAR = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_HEAD = "lm_head.weight"
_BUFFERS = (".attn.bias", ".attn.masked_bias", "position_ids")
_ONLY = {
    "n_inner": None,
    "activation_function": "gelu_new",
    "afn": "gelu",  # the tanh form there too
    "layer_norm_epsilon": NORM_EPS,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
    "add_cross_attention": False,
}
"""Settings of theirs that our models know one value of."""


def model_type(config: ModelConfig) -> str:
    """Which of their models this is.

    Raises:
        UserError: none of them; says why in one line.
    """
    reasons = {
        "an LSTM": config.kind != "gpt",
        "banded attention": config.attention != "dense",
        "a document mask": config.document_mask,
        "heads that are not d_model / n_head wide": config.kind == "gpt"
        and config.n_head * config.head_width != config.d_model,
    }
    for what, present in reasons.items():
        if present:
            raise UserError(
                f"{what} has no Hugging Face model",
                where="model",
                fix="export a GPT with dense attention and no document mask",
            )
    return GPT2 if config.norm == "pre" else GPT1


def config_of(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """Content of `config.json` for a model of ours; <|endoftext|> is its last id.

    Raises:
        UserError: see `model_type`.
    """
    kind = model_type(config)
    own = (
        {"n_inner": None, "activation_function": "gelu_new", "scale_attn_weights": True}
        if kind == GPT2
        else {"afn": "gelu"}
    )
    return {
        "architectures": [_ARCHITECTURE[kind]],
        "model_type": kind,
        "vocab_size": vocab_size,
        "n_positions": config.sequence_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        **own,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        "layer_norm_epsilon": NORM_EPS,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "bos_token_id": vocab_size - 1,
        "eos_token_id": vocab_size - 1,
        "dtype": "float32",
    }


def model_of(config: Mapping[str, Any], where: str) -> tuple[ModelConfig, int]:
    """(shape, number of token ids) from the content of a `config.json`.

    Args:
        config: the content. Their three dropout probabilities become one, that of residual branches.
        where: the file, for errors.

    Raises:
        UserError: a model that ours are not.
    """
    kind = config.get("model_type")
    if kind not in _ARCHITECTURE:
        raise UserError(
            f"models of the type {kind!r} cannot be read", where=where, fix=f"give one of {', '.join(_ARCHITECTURE)}"
        )
    for name, value in _ONLY.items():
        given = config.get(name, value)
        if given != value and not (name == "n_inner" and given == 4 * config.get("n_embd", 0)):
            raise UserError(f"{name} is {given!r}, our models know {value!r} only", where=where)
    try:
        shape = {name: config[name] for name in ("n_layer", "n_head")}
        shape |= {"d_model": config["n_embd"], "sequence_length": config["n_positions"]}
        vocab_size = int(config["vocab_size"])
        model = ModelConfig(
            **shape,
            norm="pre" if kind == GPT2 else "post",
            dropout=config.get("resid_pdrop", 0.1),  # their default
            position_std=0.01 if kind == GPT2 else 0.02,
        )
    except KeyError as error:
        raise UserError(f"{error.args[0]} is missing", where=where, fix="get the file again") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"not the shape of a model ({error})", where=where, fix="get the file again") from None
    return model, vocab_size


def _names(config: ModelConfig, kind: str) -> Iterator[tuple[str, str]]:
    """(our name, their name) of every parameter."""
    with torch.device("meta"):
        model = GPT(config, 1)
    for ours, _ in model.named_parameters():
        part = ours.removeprefix(_PREFIX).split(".")[0]
        yield ours, ours.replace(part, _RENAMED[kind].get(part, part), 1)


def _is_linear(name: str) -> bool:
    return name.rpartition(".")[0].endswith(_LINEAR)


def weights_to_hf(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Canonical weights under their names and in their layout; the tied head has no entry.

    Raises:
        UserError: see `model_type`.
    """
    found = {}
    for ours, theirs in _names(config, model_type(config)):
        value = weights[ours]
        if "attn.c_attn." in ours:
            value = value.reshape(config.n_head, 3, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)
        if _is_linear(ours) and value.ndim == 2:
            value = value.T
        found[theirs] = value.contiguous()
    return found


def weights_from_hf(state: Mapping[str, Tensor], config: ModelConfig, vocab_size: int, where: str) -> dict[str, Tensor]:
    """Canonical float32 weights of a state dict of theirs, with or without the prefix `transformer.`.

    Args:
        state: their parameters; buffers are passed over, a head must be equal to the token embedding.
        config: the shape.
        vocab_size: number of token ids.
        where: the file, for errors.

    Raises:
        UserError: a parameter is missing, of another shape or unknown, or the head is not tied.
    """
    given = {
        name if name == _HEAD or name.startswith(_PREFIX) else _PREFIX + name: value
        for name, value in state.items()
        if not name.endswith(_BUFFERS)
    }
    head = given.pop(_HEAD, None)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in GPT(config, vocab_size).named_parameters()}
    found = {}
    for ours, theirs in _names(config, model_type(config)):
        if theirs not in given:
            raise UserError(f"{theirs} is missing", where=where, fix="get the files again")
        value = given.pop(theirs).float()
        if _is_linear(ours) and value.ndim == 2:
            value = value.T
        if value.shape != shapes[ours]:
            raise UserError(
                f"{theirs} is of the shape {list(value.shape)}, config.json says {list(shapes[ours])}",
                where=where,
                fix="get the files again",
            )
        if "attn.c_attn." in ours:
            value = value.reshape(3, config.n_head, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)
        found[ours] = value.contiguous()
    if given:
        raise UserError(f"{min(given)} has no place in such a model", where=where, fix="give a language model")
    if head is not None and not torch.equal(head.float(), found[f"{EMBEDDING}.weight"]):
        raise UserError("the output head is not the token embedding (untied)", where=where, fix="give a tied model")
    return found
