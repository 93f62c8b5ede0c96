from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from small_model import model_config
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.finetune.heads import TaskModel
from pipeline.finetune.inputs import SpecialTokens, collate, language_targets, transform
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize

VOCAB = 40
SPECIAL = SpecialTokens.after(VOCAB)
TEXTS: dict[str, list[list[list[int]]]] = {
    "classification": [[[3, 4, 5, 6]], [[7]], [[8, 9, 10]]],
    "entailment": [[[3, 4, 5], [6]], [[7], [8, 9]], [[8, 9, 10], [1]]],
    "similarity": [[[3, 4, 5], [6]], [[7], [8, 9]], [[8, 9, 10], [1]]],
    "choice": [[[3, 4], [5], [6, 7, 8]], [[7], [8, 9], [1], [2, 2]], [[8], [9], [10]]],
}
CASES = [
    ("classification", "label", 3, [2, 0, 1]),
    ("entailment", "label", 2, [0, 1, 1]),
    ("similarity", "label", 2, [0, 1, 1]),
    ("similarity", "score", 1, [0.5, 4.0, 2.5]),
    ("choice", "label", 1, [1, 2, 0]),
]
BODIES: dict[str, dict[str, Any]] = {
    "pre": {},
    "post": {"norm": "post"},
    "lstm": {"kind": "lstm", "n_head": 0, "units": 24},
}


def sequences(kind: str) -> list[list[list[int]]]:
    return [transform(kind, texts, SPECIAL, 16) for texts in TEXTS[kind]]  # type: ignore[arg-type]


def batch_of(rows: list[list[list[int]]], labels: Sequence[float] | None, language: bool = True) -> Batch:
    batch = collate([[np.array(row) for row in one] for one in rows])
    if labels is None:
        return batch
    return {**batch, "labels": torch.tensor(labels), **(language_targets(batch) if language else {})}


def task_model(
    kind: str, target: str, outputs: int, aux_lm: float = 0.5, body: str = "pre", dropout: float = 0.0
) -> TaskModel:
    model = TaskModel(model_config(**BODIES[body]), VOCAB, kind, target, outputs, aux_lm, dropout)  # type: ignore[arg-type]
    model.start_from({}, seed=5)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return model


class Plain(nn.Module):
    """Transformer of GPT-1/2 for one sequence, from the papers, on the parameters of a model of ours."""

    def __init__(self, body: GPT) -> None:
        super().__init__()
        self.p, self.shape = dict(body.named_parameters()), body.config

    def norm(self, x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def attention(self, x: Tensor, name: str) -> Tensor:
        time, heads = len(x), self.shape.n_head
        q, k, v = self.linear(x, f"{name}.c_attn").view(time, heads, 3, -1).unbind(2)
        scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(time, time).triu(1).bool(), -torch.inf)
        return self.linear(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(time, -1), f"{name}.c_proj")

    def mlp(self, x: Tensor, name: str) -> Tensor:
        inner = self.linear(x, f"{name}.c_fc")
        inner = 0.5 * inner * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)))
        return self.linear(inner, f"{name}.c_proj")

    def hidden(self, tokens: list[int]) -> Tensor:
        x = self.p["transformer.wte.weight"][tokens]
        if self.shape.kind == "lstm":
            return self.lstm(x)
        x = x + self.p["transformer.wpe.weight"][: len(tokens)]
        for number in range(self.shape.n_layer):
            at = f"transformer.h.{number}"
            if self.shape.norm == "pre":
                x = x + self.attention(self.norm(x, f"{at}.ln_1"), f"{at}.attn")
                x = x + self.mlp(self.norm(x, f"{at}.ln_2"), f"{at}.mlp")
            else:
                x = self.norm(x + self.attention(x, f"{at}.attn"), f"{at}.ln_1")
                x = self.norm(x + self.mlp(x, f"{at}.mlp"), f"{at}.ln_2")
        return self.norm(x, "transformer.ln_f") if self.shape.norm == "pre" else x

    def lstm(self, x: Tensor) -> Tensor:
        for number in range(self.shape.n_layer):
            w = {part: self.p[f"transformer.h.{number}.lstm.{part}_l0"] for part in ("weight_ih", "weight_hh")}
            b = self.p[f"transformer.h.{number}.lstm.bias_ih_l0"] + self.p[f"transformer.h.{number}.lstm.bias_hh_l0"]
            h = c = torch.zeros(self.shape.lstm_units)
            states = []
            for one in x:
                i, f, g, o = (w["weight_ih"] @ one + w["weight_hh"] @ h + b).chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                states.append(h)
            x = torch.stack(states)
        return self.linear(x, "transformer.proj")


def plain_loss(model: TaskModel, kind: str, target: str, labels: list[Any], aux_lm: float) -> Tensor:
    """L3 = L2 + lambda L1 (GPT-1 3.2) and the inputs of 3.3, example by example without padding."""
    plain, head = Plain(model.body), model.score
    total = torch.zeros(())
    for rows, label in zip(sequences(kind), labels, strict=True):
        hidden = [plain.hidden(row) for row in rows]
        if kind == "choice":
            scores = torch.stack([head.weight[0] @ one[-1] + head.bias[0] for one in hidden])
        else:
            scores = head.weight @ sum(one[-1] for one in hidden) + head.bias
        total = total + ((scores[0] - label) ** 2 if target == "score" else -scores.log_softmax(0)[label])
        logits = [one[:-1] @ model.body.embedding.weight.T for one in hidden]
        language = [functional.cross_entropy(one, torch.tensor(row[1:])) for one, row in zip(logits, rows, strict=True)]
        total = total + aux_lm * sum(language) / len(language)
    return total / len(labels)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("kind", "target", "outputs", "labels"), CASES)
def test_loss_and_gradients_are_those_of_the_paper(
    kind: str, target: str, outputs: int, labels: list[Any], body: str
) -> None:
    for aux_lm in (0.0, 0.5):
        model = task_model(kind, target, outputs, aux_lm, body)
        out = model(**batch_of(sequences(kind), labels, aux_lm > 0))
        out["loss"].backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        expected = plain_loss(model, kind, target, labels, aux_lm)
        expected.backward()
        torch.testing.assert_close(out["loss"], expected, rtol=1e-5, atol=1e-5)
        assert int(out["examples"]) == 3
        assert ("lm_loss" in out) == (aux_lm > 0)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(gradients.pop(name), parameter.grad, rtol=1e-4, atol=1e-5)
        assert not any(gradient.any() for gradient in gradients.values())


@torch.no_grad()
@pytest.mark.parametrize(("kind", "target", "outputs", "labels"), CASES)
def test_scores_do_not_depend_on_padding_or_company(kind: str, target: str, outputs: int, labels: list[Any]) -> None:
    model = task_model(kind, target, outputs).eval()
    together = model(**batch_of(sequences(kind), None))["scores"]
    for one, scores in zip(sequences(kind), together, strict=True):
        alone = model(**batch_of([one], None))["scores"][0]
        torch.testing.assert_close(scores[: len(alone)], alone)
        assert (scores[len(alone) :] == -torch.inf).all()
    if target == "label":
        out = model(**batch_of(sequences(kind), labels, language=False))
        assert int(out["correct"]) == int((together.argmax(1) == torch.tensor(labels)).sum())


def test_without_the_auxiliary_loss_the_language_head_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GPT, "token_nll", lambda *_: pytest.fail("the head was computed"))
    model = task_model("classification", "label", 3, aux_lm=0.0)
    model(**batch_of(sequences("classification"), [2, 0, 1], language=False))["loss"].backward()


def test_starting_from_given_weights() -> None:
    shape = model_config()
    body = GPT(shape, VOCAB)
    initialize(body, shape, seed=11)
    weights = {name: value.detach().clone() for name, value in body.named_parameters()}
    model, again = (TaskModel(shape, VOCAB, "classification", "label", 3, 0.5, 0.0) for _ in range(2))
    for one in (model, again):
        one.start_from(weights, seed=5)
    own = dict(model.body.named_parameters())
    for name, value in weights.items():
        assert torch.equal(own[name][:VOCAB] if name == "transformer.wte.weight" else own[name], value), name
    special = own["transformer.wte.weight"][VOCAB:]
    assert special.shape == (3, 16)
    assert 0.01 < special.std() < 0.03
    assert 0.01 < model.score.weight.std() < 0.03
    assert not model.score.bias.any()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_what_is_not_given_is_drawn_as_without_any() -> None:
    shape = model_config()
    model, other = (TaskModel(shape, VOCAB, "classification", "label", 3, 0.5, 0.0) for _ in range(2))
    model.start_from({}, seed=5)
    given = {"transformer.h.0.mlp.c_fc.weight": torch.zeros(64, 16)}
    other.start_from(given, seed=5)
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b) is (name.removeprefix("body.") not in given), name


def test_dropout_of_the_head_only_in_training_and_one_mask_for_all_candidates() -> None:
    for kind, target, outputs, labels in CASES:
        model, batch = task_model(kind, target, outputs, dropout=0.5), batch_of(sequences(kind), labels)
        assert not torch.equal(model(**batch)["task_loss"], model(**batch)["task_loss"])
        model.eval()
        assert torch.equal(model(**batch)["task_loss"], model(**batch)["task_loss"])
    same = batch_of([transform("choice", [[3], [4, 5], [4, 5]], SPECIAL, 16)], None)  # type: ignore[arg-type]
    model = task_model("choice", "label", 1, dropout=0.5)
    left, right = model(**same)["scores"][0]
    torch.testing.assert_close(left, right)
