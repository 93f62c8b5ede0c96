"""A training step of the engine, and the whole Trainer, beside plain PyTorch and transformers' GPT-2 of the same shape.

One rank, ZeRO-1, fp32, some 14 million parameters. The plain loop is the same module with the same fused AdamW,
accumulation and clipping; transformers' model stands in the same loop.
"""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Callable
from pathlib import Path

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
from pipeline.train.zero_engine import ZeroEngine

VOCAB, LENGTH, MICRO_BATCH, ACCUMULATION = 8192, 128, 8, 4
MODEL = {"n_layer": 6, "n_head": 6, "d_model": 384, "sequence_length": LENGTH}
TOKENS = ACCUMULATION * MICRO_BATCH * LENGTH
LR, STEPS, LOG_EVERY = 1e-4, 30, 5


def batches_of(vocab: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, vocab, (MICRO_BATCH, LENGTH + 1), generator=draw) for _ in range(ACCUMULATION)]
    return [{"tokens": row[:, :-1].contiguous(), "targets": row[:, 1:].contiguous()} for row in rows]


def plain_step(module: nn.Module, config: PretrainConfig, batches: list[Batch]) -> Callable[[], None]:
    optimizer = make_optimizer(module, config.optimizer)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            (module(**batch)["loss"] / ACCUMULATION).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.optimizer.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = LR
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
    plain = plain_step(copy.deepcopy(module), config, batches)
    theirs = plain_step(Theirs(config), config, batches)
    engine = ZeroEngine(module, config, world)
    seconds = alternate(lambda: engine.train_step(batches, LR), plain, theirs, repeats=9)
    return seconds, torch.get_num_threads()


def trained(config: PretrainConfig, vocab: int) -> tuple[float, float]:
    """Median seconds of a step: (a real run of the Trainer, the plain loop before and after it)."""
    module = GPT(config.model, vocab)
    initialize(module, config.model, config.run.seed)
    plain = plain_step(module, config, batches_of(vocab))
    (before,) = alternate(plain, repeats=9)
    pretrain(config)
    (after,) = alternate(plain, repeats=9)
    lines = (Path(config.run.dir) / config.run.name / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["metrics"].get("perf/tokens_per_s") for line in lines]
    return TOKENS / statistics.median([rate for rate in rates if rate][1:]), (before + after) / 2


@pytest.mark.benchmark
def test_step(tmp_path: Path, table: list[Row]) -> None:
    batch = {"tokens": 1, "global_batch": MICRO_BATCH * ACCUMULATION, "micro_batch": MICRO_BATCH}
    config = pretrain_config(tmp_path, tmp_path, model=MODEL, train=batch)
    (((ours, plain, theirs), threads),) = ranks(1, measure, config)
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
    ends = {"validation": {"every": STEPS}, "checkpoint": {"every": STEPS}}
    config = pretrain_config(tmp_path / "data", tmp_path, model=MODEL, train=batch, **ends)
    ((ours, plain),) = ranks(1, trained, config, manifest.vocab_size)
    table.append(
        Row(
            "the Trainer: data, schedule, log lines",
            f"{TOKENS / ours:,.0f} tokens/s",
            f"plain PyTorch on the same batch again and again {TOKENS / plain:,.0f} tokens/s",
            f"{100 * (ours / plain - 1):+.1f} % time",
            f"{parameter_count(config.model, manifest.vocab_size) / 1e6:.1f}M parameters, {TOKENS:,} tokens a step",
        )
    )
