"""A training step through DeepSpeed's ZeRO-1 on one rank against a plain PyTorch loop on the same model."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from harness import ranks
from measure import Row, alternate
from small_model import pretrain_config

from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.model.sizes import parameter_count
from pipeline.train.deepspeed_engine import make_optimizer
from pipeline.train.zero_engine import ZeroEngine

VOCAB, LENGTH, MICRO_BATCH, ACCUMULATION = 8192, 128, 4, 2
MODEL = {"n_layer": 6, "n_head": 6, "d_model": 384, "sequence_length": LENGTH}
LR = 1e-4


def measure(config: PretrainConfig) -> tuple[float, float, int]:
    """Median seconds of a step: (ours, plain), and threads."""
    world = distributed.init()
    module = GPT(config.model, VOCAB)
    initialize(module, config.model, config.run.seed)
    plain = copy.deepcopy(module)
    optimizer = make_optimizer(plain, config.optimizer)
    engine = ZeroEngine(module, config, world)
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, VOCAB, (MICRO_BATCH, LENGTH + 1), generator=draw) for _ in range(ACCUMULATION)]
    batches = [{"tokens": row[:, :-1].contiguous(), "targets": row[:, 1:].contiguous()} for row in rows]

    def step_plain() -> None:
        optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            (plain(**batch)["loss"] / ACCUMULATION).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), config.optimizer.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = LR
        optimizer.step()

    ours, floor = alternate(lambda: engine.train_step(batches, LR), step_plain, repeats=15)
    return ours, floor, torch.get_num_threads()


@pytest.mark.benchmark
def test_step(tmp_path: Path, table: list[Row]) -> None:
    batch = {"tokens": 1, "global_batch": MICRO_BATCH * ACCUMULATION, "micro_batch": MICRO_BATCH}
    config = pretrain_config(tmp_path, tmp_path, model=MODEL, train=batch)
    ((ours, floor, threads),) = ranks(1, measure, config, timeout=280)
    tokens = ACCUMULATION * MICRO_BATCH * LENGTH
    table.append(
        Row(
            "training step, 1 rank, ZeRO-1, fp32",
            f"{tokens / ours:,.0f} tokens/s",
            f"plain PyTorch {tokens / floor:,.0f} tokens/s",
            f"{100 * (ours / floor - 1):+.1f} % time",
            f"{parameter_count(config.model, VOCAB) / 1e6:.1f}M parameters, "
            f"{ACCUMULATION} micro-batches of {MICRO_BATCH} x {LENGTH}, {threads} threads",
        )
    )
