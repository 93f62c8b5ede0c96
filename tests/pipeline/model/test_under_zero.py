"""Models other than the plain GPT train under ZeRO as in one process of plain PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_state import weights_of
from harness import ranks
from small_model import model_config, pretrain_config, random_tokens

from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.train.build import build_engine
from pipeline.train.engine import reduce_sums

VOCAB, RATE, STEPS = 50, 0.01, 3
LSTM = {"kind": "lstm", "n_layer": 1, "n_head": 0, "units": 24}
CASES: dict[str, dict[str, Any]] = {
    "LSTM, ZeRO-1": {"model": model_config(**LSTM).model_dump(), "parallel": {"zero_stage": 1}},
    **{
        f"chunked loss and padding, ZeRO-{stage}": {
            "model": model_config(vocab_multiple=16).model_dump(),
            "kernels": {"loss_chunk": 7},
            "parallel": {"zero_stage": stage},
        }
        for stage in (1, 3)
    },
}


def config(changes: dict[str, Any]) -> PretrainConfig:
    more = {"train": {"global_batch": 4, "micro_batch": 1}, "optimizer": {"lr": RATE, "eps": 1e-4}}
    return pretrain_config(Path(), Path(), **more, **changes)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    return random_tokens((4, 16), VOCAB, step), random_tokens((4, 16), VOCAB, 100 + step)


def _train(changes: list[dict[str, Any]]) -> list[tuple[list[float], dict[str, Any]]]:
    world = distributed.init()
    results = []
    for one in changes:
        settings = config(one)
        engine = build_engine(settings, VOCAB, world)
        losses = []
        for step in range(STEPS):
            tokens, targets = (part.split(1)[world.rank :: world.size] for part in batch(step))
            micro_batches = [{"tokens": t, "targets": y} for t, y in zip(tokens, targets, strict=True)]
            sums = reduce_sums(engine.train_step(micro_batches, RATE).sums)
            losses.append(sums["nll"] / sums["targets"])
        results.append((losses, weights_of(engine)))
    return results


def plain(settings: PretrainConfig) -> tuple[list[float], dict[str, Any]]:
    unpadded = settings.model.model_copy(update={"vocab_multiple": 1})
    module = GPT(unpadded, VOCAB)
    initialize(module, unpadded, settings.run.seed)
    options = settings.optimizer
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in module.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=options.betas, eps=options.eps)
    losses = []
    for step in range(STEPS):
        tokens, targets = batch(step)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module.logits(tokens).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), options.grad_clip)
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: value.detach().numpy() for name, value in module.named_parameters()}


@pytest.fixture(scope="module")
def trained() -> dict[str, tuple[list[float], dict[str, Any]]]:
    return dict(zip(CASES, ranks(2, _train, list(CASES.values()))[0], strict=True))


@pytest.mark.parametrize("case", CASES)
def test_training_equals_plain_pytorch(trained: dict[str, tuple[list[float], dict[str, Any]]], case: str) -> None:
    losses, weights = trained[case]
    expected, theirs = plain(config(CASES[case]))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-6)
    assert losses[-1] != losses[0]
    assert weights.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(weights[name], value, rtol=0, atol=2e-6, err_msg=name)
