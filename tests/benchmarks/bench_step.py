"""A training step of the engine, and the whole Trainer, beside plain PyTorch and transformers' GPT-2 of the same shape.

One rank, ZeRO-1, fp32, more than 10 million parameters. The plain loop is the same module with the same fused AdamW,
accumulation and clipping; transformers' model stands in the same loop. The Trainer takes turns with its peers inside
one run, from log line to log line: they train on the batch that it read last.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from harness import ranks
from measure import Row, alternate
from small_model import pretrain_config, write_dataset
from torch import nn

from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import Batch
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.model.sizes import parameter_count
from pipeline.pretrain import pretrain
from pipeline.train.deepspeed_engine import make_optimizer
from pipeline.train.health_record import HealthRecord
from pipeline.train.status import StepStatus
from pipeline.train.step_log import StepLog
from pipeline.train.zero_engine import ZeroEngine

VOCAB, LENGTH, MICRO_BATCH, ACCUMULATION = 8192, 128, 8, 4
MODEL = {"n_layer": 6, "n_head": 6, "d_model": 384, "sequence_length": LENGTH}
TOKENS = ACCUMULATION * MICRO_BATCH * LENGTH
LR, STEPS, LOG_EVERY = 1e-4, 20, 4

TrainStep = Callable[[list[Batch], float], object]


def batches_of(vocab: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, vocab, (MICRO_BATCH, LENGTH + 1), generator=draw) for _ in range(ACCUMULATION)]
    return [{"tokens": row[:, :-1].contiguous(), "targets": row[:, 1:].contiguous()} for row in rows]


def plain_step(module: nn.Module, config: PretrainConfig) -> TrainStep:
    optimizer = make_optimizer(module, config.optimizer)

    def step(batches: list[Batch], lr: float) -> None:
        optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            (module(**batch)["loss"] / len(batches)).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.optimizer.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()

    return step


class Theirs(nn.Module):
    """transformers' GPT-2 behind our signature."""

    def __init__(self, config: PretrainConfig) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        super().__init__()
        shape = config.model
        sizes = {"n_layer": shape.n_layer, "n_head": shape.n_head, "n_embd": shape.d_model, "n_positions": LENGTH}
        none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "use_cache": False}
        self.model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, **sizes, **none))

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.model(tokens).logits
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())}


def measure(config: PretrainConfig) -> tuple[list[float], int]:
    """Median seconds of a step: [engine, plain, transformers], and threads."""
    world = distributed.init()
    module = GPT(config.model, VOCAB)
    initialize(module, config.model, config.run.seed)
    batches = batches_of(VOCAB)
    plain, theirs = plain_step(copy.deepcopy(module), config), plain_step(Theirs(config), config)
    steps: list[TrainStep] = [ZeroEngine(module, config, world).train_step, plain, theirs]
    seconds = alternate(*(partial(step, batches, LR) for step in steps), repeats=7)
    return seconds, torch.get_num_threads()


def trained(config: PretrainConfig, vocab: int) -> list[list[float]]:
    """Seconds of a step, by leg: [of the Trainer in a real run, of an engine alone, of the plain loop]."""
    world = distributed.init()
    module = GPT(config.model, vocab)
    initialize(module, config.model, config.run.seed)
    plain = plain_step(copy.deepcopy(module), config)
    peers: list[TrainStep] = [ZeroEngine(module, config, world).train_step, plain]
    legs: list[list[float]] = [[], [], []]
    begun: float | None = None
    write = StepLog.write

    def then_the_peers(log: StepLog, status: StepStatus, lr: float, health: HealthRecord) -> dict[str, float]:
        nonlocal begun
        values = write(log, status, lr, health)
        if begun is not None:
            legs[0].append((time.perf_counter() - begun) / LOG_EVERY)
        for peer, seconds in zip(peers, legs[1:], strict=True):
            start = time.perf_counter()
            for _ in range(LOG_EVERY):
                peer(status.read.micro_batches, lr)
            if begun is not None:
                seconds.append((time.perf_counter() - start) / LOG_EVERY)
        begun = time.perf_counter()
        return values

    with patch.object(StepLog, "write", then_the_peers):
        pretrain(config)
    return legs


@pytest.mark.benchmark
def test_step(tmp_path: Path, table: list[Row]) -> None:
    batch = {"tokens": 1, "global_batch": MICRO_BATCH * ACCUMULATION, "micro_batch": MICRO_BATCH}
    config = pretrain_config(tmp_path, tmp_path, model=MODEL, train=batch)
    (((ours, plain, theirs), threads),) = ranks(1, measure, config, timeout=280)
    about = f"{parameter_count(config.model, VOCAB) / 1e6:.1f}M parameters, {TOKENS:,} tokens a step, {threads} threads"
    for name, peer in (("plain PyTorch", plain), ("transformers' GPT-2", theirs)):
        table.append(
            Row(
                "training step, 1 rank, ZeRO-1, fp32",
                f"{TOKENS / ours:,.0f} tokens/s",
                f"{name} {TOKENS / peer:,.0f} tokens/s",
                f"{peer / ours:.3f}x as fast",
                about,
            )
        )


@pytest.mark.benchmark
def test_trainer(tmp_path: Path, table: list[Row]) -> None:
    manifest = write_dataset(tmp_path / "data", train=4000, validation=200)
    batch = {
        "tokens": STEPS * TOKENS,
        "global_batch": MICRO_BATCH * ACCUMULATION,
        "micro_batch": MICRO_BATCH,
        "log_every": LOG_EVERY,
    }
    ends = {"validation": {"every": STEPS}, "checkpoint": {"every": STEPS}, "optimizer": {"lr": LR}}
    config = pretrain_config(tmp_path / "data", tmp_path, model=MODEL, train=batch, **ends)
    (legs,) = ranks(1, trained, config, manifest.vocab_size, timeout=450)
    trainer, engine, plain = map(statistics.median, legs)
    about = f"{parameter_count(config.model, manifest.vocab_size) / 1e6:.1f}M parameters, {TOKENS:,} tokens a step"
    for name, peer, others in (("the engine alone", engine, legs[1]), ("plain PyTorch", plain, legs[2])):
        by_leg = sorted(100 * (ours / other - 1) for ours, other in zip(legs[0], others, strict=True))
        table.append(
            Row(
                "the Trainer: data, schedule, log lines, run folder",
                f"{TOKENS / trainer:,.0f} tokens/s",
                f"{name} {TOKENS / peer:,.0f} tokens/s",
                f"{statistics.median(by_leg):+.1f} % time",
                f"{about}; {len(by_leg)} legs of {LOG_EVERY} steps, {by_leg[0]:+.1f} to {by_leg[-1]:+.1f} %",
            )
        )
