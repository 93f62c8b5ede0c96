from typing import Any

import pytest
import torch
import transformers
from small_model import model_config, random_tokens

from pipeline.model.gpt import GPT, layout
from pipeline.model.init import initialize
from pipeline.model.loss import IGNORE

VOCAB = 50


def gpt(**changes: Any) -> GPT:
    config = model_config(**changes)
    model = GPT(config, VOCAB).eval()
    initialize(model, config, 0)
    with torch.no_grad():  # gains and biases too, so that a missing one shows
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return model


def test_names_are_those_of_hugging_face_gpt2() -> None:
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCAB, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    )
    expected = {name for name, _ in theirs.named_parameters()}
    assert {name for name, _ in gpt().named_parameters()} == expected


def test_only_pre_norm_has_a_final_norm() -> None:
    assert layout(model_config(norm="pre"), VOCAB)[-1].name == "transformer.ln_f"
    assert layout(model_config(norm="post"), VOCAB)[-1].name == "transformer.h.1"


@pytest.mark.parametrize("changes", [{}, {"norm": "post"}, {"attention": "alternating", "band_width": 3}])
@torch.no_grad()
def test_no_position_sees_a_later_token(changes: dict[str, Any]) -> None:
    model = gpt(**changes)
    tokens = random_tokens((1, 16), VOCAB)
    before = model.logits(tokens)
    tokens[0, 9] = (tokens[0, 9] + 1) % VOCAB
    after = model.logits(tokens)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


@torch.no_grad()
def test_a_short_input_uses_the_first_positions() -> None:
    model = gpt()
    tokens = random_tokens((1, 16), VOCAB)
    torch.testing.assert_close(model.logits(tokens[:, :5]), model.logits(tokens)[:, :5])


def test_forward_gives_the_mean_loss_and_its_sums() -> None:
    model = gpt()
    tokens, targets = random_tokens((2, 8), VOCAB), random_tokens((2, 8), VOCAB, seed=1)
    targets[0, :5] = IGNORE
    out = model(tokens, targets)
    log_probabilities = model.logits(tokens).log_softmax(-1)
    asked = targets != IGNORE
    expected = -log_probabilities[asked].gather(1, targets[asked][:, None]).sum()
    torch.testing.assert_close(out["nll"], expected.detach())
    assert int(out["targets"]) == 11
    torch.testing.assert_close(out["loss"], expected / 11)
    assert out["loss"].requires_grad
    assert not out["nll"].requires_grad


def test_the_head_is_tied_to_the_embedding() -> None:
    model = gpt()
    tokens = torch.zeros((1, 4), dtype=torch.int64)
    model(tokens, tokens)["loss"].backward()
    gradient = model.embedding.weight.grad
    assert gradient is not None
    assert gradient[1:].abs().sum() > 0  # only the head touches rows of tokens that are not read
