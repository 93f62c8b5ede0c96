from typing import Any

import pytest
import torch
from small_model import model_config, random_tokens

from pipeline.model.gpt import GPT, layout
from pipeline.model.init import initialize

VOCAB = 50


def lstm(**changes: Any) -> GPT:
    config = model_config(**{"kind": "lstm", "n_layer": 1, "n_head": 0, "units": 24, **changes})
    model = GPT(config, VOCAB).eval()
    initialize(model, config, 2)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return model


@pytest.mark.parametrize("units", [24, None])
@torch.no_grad()
def test_the_recurrence_is_the_textbook_one(units: int | None) -> None:
    model = lstm(n_layer=2, units=units)
    tokens = random_tokens((2, 7), VOCAB)
    state = dict(model.named_parameters())
    series = state["transformer.wte.weight"][tokens]
    for layer in range(2):
        parts = {
            name: state[f"transformer.h.{layer}.lstm.{name}_l0"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        width = units or 16
        h, c, found = torch.zeros(2, width), torch.zeros(2, width), []
        for step in range(7):
            gates = (
                series[:, step] @ parts["weight_ih"].T + parts["bias_ih"] + h @ parts["weight_hh"].T + parts["bias_hh"]
            )
            i, f, g, o = gates.chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            found.append(h)
        series = torch.stack(found, 1)
    if units:
        series = series @ state["transformer.proj.weight"].T + state["transformer.proj.bias"]
    torch.testing.assert_close(model.logits(tokens), series @ state["transformer.wte.weight"].T)


def test_the_layout_has_no_positions_and_projects_only_other_widths() -> None:
    config = {"kind": "lstm", "n_layer": 2, "n_head": 0}
    names = [layer.name for layer in layout(model_config(**config, units=24), VOCAB)]
    assert names == ["transformer.wte", "transformer.h.0", "transformer.h.1", "transformer.proj"]
    assert layout(model_config(**config), VOCAB)[-1].name == "transformer.h.1"


def test_biases_start_at_zero_and_matrices_do_not() -> None:
    config = model_config(kind="lstm", n_layer=1, n_head=0, units=24)
    model = GPT(config, VOCAB)
    initialize(model, config, 0)
    for name, parameter in model.named_parameters():
        assert bool(parameter.any()) == (parameter.ndim == 2), name


@torch.no_grad()
def test_dropout_only_in_training() -> None:
    model = lstm(dropout=0.5)
    tokens = random_tokens((1, 8), VOCAB)
    assert torch.equal(model.logits(tokens), model.logits(tokens))
    model.train()
    assert not torch.equal(model.logits(tokens), model.logits(tokens))
