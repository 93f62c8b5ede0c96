from __future__ import annotations

import pytest
import torch
from small_model import model_config
from torch.nn import functional

from pipeline.finetune.heads import Classifier
from pipeline.finetune.inputs import SpecialTokens, collate
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize

VOCAB = 40
SPECIAL = SpecialTokens.after(VOCAB)
SEQUENCES = [[SPECIAL.start, *text, SPECIAL.extract] for text in ([3, 4, 5, 6], [7], [8, 9, 10])]
LABELS = [2, 0, 1]


def pretrained(seed: int = 11) -> dict[str, torch.Tensor]:
    body = GPT(model_config(), VOCAB)
    initialize(body, model_config(), seed)
    return {name: value.detach().clone() for name, value in body.named_parameters()}


def classifier(aux_lm: float = 0.5, weights: dict[str, torch.Tensor] | None = None, dropout: float = 0.0) -> Classifier:
    model = Classifier(model_config(), VOCAB, 3, aux_lm, dropout)
    model.start_from(weights, seed=5)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return model


@pytest.mark.parametrize("aux_lm", [0.0, 0.5, 2.0])
def test_loss_and_gradients_are_those_of_the_paper(aux_lm: float) -> None:
    """L3 = L2 + lambda L1 (GPT-1 3.2), written out example by example."""
    model = classifier(aux_lm)
    out = model(**collate(SEQUENCES, LABELS))
    out["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    task, language = torch.zeros(()), torch.zeros(())
    correct = 0
    for sequence, label in zip(SEQUENCES, LABELS, strict=True):
        hidden = model.body.hidden(torch.tensor([sequence]))[0]
        scores = hidden[-1] @ model.score.weight.T + model.score.bias
        task = task - scores.log_softmax(0)[label]
        correct += int(scores.argmax()) == label
        logits = hidden[:-1] @ model.body.embedding.weight.T
        language = language + functional.cross_entropy(logits, torch.tensor(sequence[1:]))
    expected = task / 3 + aux_lm * language / 3
    expected.backward()
    torch.testing.assert_close(out["loss"], expected)
    torch.testing.assert_close(out["task_nll"], task.detach())
    assert (int(out["correct"]), int(out["examples"])) == (correct, 3)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_padding_does_not_change_an_example() -> None:
    model = classifier().eval()
    alone = [
        model(**collate([sequence], [label]))["task_nll"] for sequence, label in zip(SEQUENCES, LABELS, strict=True)
    ]
    torch.testing.assert_close(model(**collate(SEQUENCES, LABELS))["task_nll"], torch.stack(alone).sum())


def test_starting_from_a_pretrained_body() -> None:
    weights = pretrained()
    model = Classifier(model_config(), VOCAB, 3, 0.5, 0.0)
    model.start_from(weights, seed=5)
    body = dict(model.body.named_parameters())
    for name, value in weights.items():
        assert torch.equal(body[name][:VOCAB] if name == "transformer.wte.weight" else body[name], value), name
    special = body["transformer.wte.weight"][VOCAB:]
    assert special.shape == (3, 16)
    assert 0.01 < special.std() < 0.03
    assert 0.01 < model.score.weight.std() < 0.03
    assert not model.score.bias.any()
    again = Classifier(model_config(), VOCAB, 3, 0.5, 0.0)
    again.start_from(weights, seed=5)
    assert torch.equal(again.body.embedding.weight, model.body.embedding.weight)
    assert torch.equal(again.score.weight, model.score.weight)
    assert set(weights) == set(pretrained())  # the given weights are not changed
    assert weights["transformer.wte.weight"].shape == (VOCAB, 16)


def test_starting_at_random_is_another_body_with_the_same_head() -> None:
    one, other = (Classifier(model_config(), VOCAB, 3, 0.5, 0.0) for _ in range(2))
    one.start_from(pretrained(), seed=5)
    other.start_from(None, seed=5)
    assert torch.equal(one.score.weight, other.score.weight)
    for (name, a), (_, b) in zip(one.body.named_parameters(), other.body.named_parameters(), strict=True):
        if a.ndim > 1:
            assert not torch.isclose(a, b).any(dim=1).all(), name


def test_dropout_of_the_head_only_in_training() -> None:
    model = classifier(dropout=0.5)
    batch = collate(SEQUENCES, LABELS)
    assert not torch.equal(model(**batch)["task_nll"], model(**batch)["task_nll"])
    model.eval()
    assert torch.equal(model(**batch)["task_nll"], model(**batch)["task_nll"])
