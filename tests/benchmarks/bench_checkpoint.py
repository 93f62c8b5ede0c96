"""What checkpoints cost a run: the time that training stands still for them, and all that they cost in wall time.

One rank on the CPU, ZeRO-1, fp32, 10 million parameters, a save every 50 steps. Legs of 50 steps without a save and
with one in the background take turns; behind each pair comes a save that is waited for, and one by DeepSpeed's own
`save_checkpoint`, which neither flushes nor hashes. Those two add to a leg just the time that they take.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ranks
from measure import Row
from small_engine import manifest
from small_model import pretrain_config, random_tokens

from pipeline import distributed
from pipeline.checkpoint.checkpointer import Checkpointer
from pipeline.checkpoint.store import CheckpointStore, folder_name
from pipeline.config.schema import PretrainConfig
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.model.sizes import parameter_count
from pipeline.train.zero_engine import ZeroEngine

VOCAB, LENGTH, BATCH, EVERY, REPEATS = 8192, 128, 8, 50, 3
MODEL = {"n_layer": 6, "n_head": 5, "d_model": 320, "sequence_length": LENGTH}
LR = 1e-4
BACKGROUND, WAITED, DEEPSPEED = "background", "background: false", "DeepSpeed's save_checkpoint"

Leg = tuple[float, float]
"""Seconds that training stood still, and seconds in all."""


def measure(config: PretrainConfig, folder: Path) -> tuple[list[float], dict[str, list[Leg]], float, float]:
    """(seconds of legs without a save, kind of save -> legs with one, MB of a checkpoint, MB of DeepSpeed's)."""
    world = distributed.init()
    module = GPT(config.model, VOCAB)
    initialize(module, config.model, config.run.seed)
    engine = ZeroEngine(module, config, world)
    tokens = random_tokens((BATCH, LENGTH + 1), VOCAB)
    batches = [{"tokens": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}]
    checkpointer = Checkpointer(CheckpointStore(folder / "ours", 2), engine, world, config.checkpoint, print)
    theirs, step = folder / "theirs", 0

    def ours(wait: bool) -> float:
        nonlocal step
        step += 1
        start = time.perf_counter()
        checkpointer.save(manifest(step), b"{}")
        if wait:
            checkpointer.wait()
        return time.perf_counter() - start

    def deepspeed() -> float:
        shutil.rmtree(theirs, ignore_errors=True)
        start = time.perf_counter()
        engine._engine.save_checkpoint(str(theirs))
        return time.perf_counter() - start

    kinds: dict[str, Callable[[], float]] = {
        BACKGROUND: lambda: ours(wait=False),
        WAITED: lambda: ours(wait=True),
        DEEPSPEED: deepspeed,
    }
    for save in kinds.values():  # buffers, lazy imports
        engine.train_step(batches, LR)
        save()

    def leg(save: Callable[[], float]) -> Leg:
        start = time.perf_counter()
        stalled = save()
        for _ in range(EVERY):
            engine.train_step(batches, LR)
        checkpointer.wait()
        return stalled, time.perf_counter() - start

    without: list[float] = []
    found: dict[str, list[Leg]] = {kind: [] for kind in kinds}
    for _ in range(REPEATS):
        os.sync()  # what the saves before left to be written is no part of this
        without.append(leg(lambda: 0.0)[1])
        found[BACKGROUND].append(leg(kinds[BACKGROUND]))
        for kind in (WAITED, DEEPSPEED):
            stalled = kinds[kind]()
            found[kind].append((stalled, without[-1] + stalled))
    checkpointer.close()
    return without, found, megabytes(folder / "ours" / folder_name(step)), megabytes(theirs)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_checkpoint(tmp_path: Path, table: list[Row]) -> None:
    batch = {"tokens": 1, "global_batch": BATCH, "micro_batch": BATCH}
    config = pretrain_config(tmp_path, tmp_path, model=MODEL, train=batch)
    ((without, saves, ours, theirs),) = ranks(1, measure, config, tmp_path, timeout=1000)
    about = (
        f"{parameter_count(config.model, VOCAB) / 1e6:.1f}M parameters, {BATCH * LENGTH:,} tokens a step, "
        f"{1000 * statistics.median(without) / EVERY:.0f} ms a step"
    )
    still = {kind: [100 * stalled / leg for stalled, leg in legs] for kind, legs in saves.items()}
    extra = {
        kind: [100 * (leg / alone - 1) for (_, leg), alone in zip(legs, without, strict=True)]
        for kind, legs in saves.items()
    }
    for name, share, notes in (
        ("a checkpoint every 50 steps: training stands still", still, about),
        ("the same: wall time beside a run without", extra, f"{ours:.0f} MB; DeepSpeed's {theirs:.0f} MB"),
    ):
        told = {
            kind: f"{statistics.median(values):.2f} % ({min(values):.2f} to {max(values):.2f})"
            for kind, values in share.items()
        }
        peers = "; ".join(f"{kind} {told[kind]}" for kind in (WAITED, DEEPSPEED))
        ratio = statistics.median(share[BACKGROUND]) / statistics.median(share[DEEPSPEED])
        table.append(Row(name, told[BACKGROUND], peers, f"{ratio:.3f}x DeepSpeed's", notes))
