"""The same weights in `transformers` and here: logits, loss, gradients; names and layouts both ways."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from small_model import model_config, random_tokens
from torch import nn

from data_prep.errors import UserError
from pipeline.config.model import ModelConfig
from pipeline.model import hf
from pipeline.model.gpt import GPT

VOCAB = 50
NORMS = ["pre", "post"]


def theirs(norm: str) -> nn.Module:
    """A model of theirs with random weights, gains and biases too."""
    shape = {"vocab_size": VOCAB, "n_positions": 16, "n_embd": 16, "n_layer": 3, "n_head": 4}
    model: nn.Module
    if norm == "pre":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    else:
        model = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**shape))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return model.eval()


def ours(model: Any) -> GPT:
    """The same model here, through its config.json and its state dict."""
    config, vocab_size = hf.model_of(model.config.to_dict(), "config.json")
    made = GPT(config, vocab_size).eval()
    made.load_state_dict(hf.weights_from_hf(model.state_dict(), config, vocab_size, "test"))
    return made


@pytest.mark.parametrize("norm", NORMS)
def test_logits_loss_and_gradients_equal(norm: str) -> None:
    model = theirs(norm)
    mine = ours(model)
    assert mine.config.norm == norm
    tokens = random_tokens((2, 13), VOCAB)
    torch.testing.assert_close(mine.logits(tokens), model(tokens).logits, rtol=1e-5, atol=1e-5)
    out = model(tokens, labels=tokens)
    found = mine(tokens[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(found["loss"], out.loss, rtol=1e-6, atol=1e-6)
    out.loss.backward()
    found["loss"].backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    expected = hf.weights_from_hf(gradients, mine.config, VOCAB, "gradients")
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("norm", NORMS)
def test_there_and_back_is_the_same_bits(norm: str) -> None:
    model: Any = theirs(norm)
    config, vocab_size = hf.model_of(model.config.to_dict(), "config.json")
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    there = hf.weights_from_hf(state, config, vocab_size, "test")
    back = hf.weights_to_hf(there, config)
    assert back.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(back[name], value), name
        assert back[name].is_contiguous()


@pytest.mark.parametrize("norm", NORMS)
def test_settings_survive_the_way_there_and_back(norm: str) -> None:
    config = model_config(norm=norm, dropout=0.25, position_std=0.01 if norm == "pre" else 0.02)
    assert hf.model_of(hf.config_of(config, VOCAB), "test") == (config, VOCAB)


@pytest.mark.parametrize("norm", NORMS)
def test_names_without_prefix_and_buffers_are_those_of_published_files(norm: str) -> None:
    model: Any = theirs(norm)
    config, _ = hf.model_of(model.config.to_dict(), "config.json")
    state = dict(model.state_dict())
    published = {name.removeprefix("transformer."): value for name, value in state.items() if name != "lm_head.weight"}
    published["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    found = hf.weights_from_hf(published, config, VOCAB, "test")
    for name, value in hf.weights_from_hf(state, config, VOCAB, "test").items():
        assert torch.equal(found[name], value), name


def test_names_are_ours_but_for_the_embeddings_of_gpt1() -> None:
    for norm in NORMS:
        config = model_config(norm=norm)
        with torch.device("meta"):
            names = [name for name, _ in GPT(config, VOCAB).named_parameters()]
        found = set(
            hf.weights_to_hf(
                {name: torch.zeros(1) for name in names if "c_attn" not in name}
                | {
                    name: torch.zeros(96, *([16] if name.endswith("weight") else []))
                    for name in names
                    if "c_attn" in name
                },
                config,
            )
        )
        different = found ^ set(names)
        assert different == (
            set()
            if norm == "pre"
            else {
                "transformer.wte.weight",
                "transformer.wpe.weight",
                "transformer.tokens_embed.weight",
                "transformer.positions_embed.weight",
            }
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer.ln_f.bias": None}, r"transformer\.ln_f\.bias is missing"),
        ({"transformer.h.1.mlp.c_fc.weight": torch.zeros(16, 63)}, r"c_fc\.weight is of the shape \[63, 16\]"),
        ({"transformer.h.9.ln_1.bias": torch.zeros(16)}, r"transformer\.h\.9\.ln_1\.bias has no place"),
        ({"lm_head.weight": torch.zeros(VOCAB, 16)}, r"the output head is not the token embedding \(untied\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    model: Any = theirs("pre")
    config, _ = hf.model_of(model.config.to_dict(), "config.json")
    state = {name: value for name, value in {**model.state_dict(), **change}.items() if value is not None}
    with pytest.raises(UserError, match=message):
        hf.weights_from_hf(state, config, VOCAB, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, r"models of the type 'llama' cannot be read"),
        ({"activation_function": "relu"}, r"activation_function is 'relu', our models know 'gelu_new' only"),
        ({"n_inner": 100}, "n_inner is 100"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"n_head": 3}, "not the shape of a model"),
        ({"n_layer": None}, "not the shape of a model"),
    ],
)
def test_a_model_that_ours_are_not_is_refused(change: dict[str, Any], message: str) -> None:
    config = hf.config_of(model_config(), VOCAB)
    with pytest.raises(UserError, match=message):
        hf.model_of({**config, **change}, "config.json")
    assert hf.model_of({**config, "n_inner": 64}, "config.json")[1] == VOCAB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "alternating"}, "banded attention"),
        ({"document_mask": True}, "a document mask"),
        ({"kind": "lstm", "n_head": 0}, "an LSTM"),
        ({"d_head": 5}, "d_model / n_head wide"),
    ],
)
def test_what_they_have_no_class_for_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        hf.config_of(model_config(**changes), VOCAB)


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
@pytest.mark.parametrize(("name", "norm"), [("hf_gpt2_tiny", "pre"), ("hf_gpt1_tiny", "post")])
def test_stored_references(name: str, norm: str) -> None:
    """Weights, logits, loss and gradients that `transformers` computed in float64 once."""
    stored = np.load(Path(os.environ["WEBTEXT_DATA_ROOT"]) / "references" / f"{name}.npz")
    config = ModelConfig(n_layer=2, n_head=4, d_model=48, sequence_length=32, norm="pre" if norm == "pre" else "post")

    def canonical(kind: str) -> dict[str, torch.Tensor]:
        state = {key[2:]: torch.from_numpy(stored[key]) for key in stored.files if key.startswith(f"{kind}/")}
        return hf.weights_from_hf(state, config, 257, name)

    model = GPT(config, 257).double().eval()
    model.load_state_dict(canonical("w"))
    tokens = torch.from_numpy(stored["input_ids"])
    hidden = model.hidden(tokens)
    logits = hidden @ model.embedding.weight.T
    np.testing.assert_allclose(logits.detach().numpy(), stored["logits"], rtol=0, atol=1e-12)
    loss = model(tokens[:, :-1], tokens[:, 1:])["loss"]
    assert loss.item() == pytest.approx(float(stored["loss"]), abs=1e-6)
    loss.backward()
    gradients = canonical("g")
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.float(), gradients[key], rtol=1e-4, atol=1e-6, msg=key)
