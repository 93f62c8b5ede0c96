"""What checkpoints cost a run: the time that training stands still for them, and all that they cost in wall time.

One rank on the CPU, ZeRO-1, fp32, 10 million parameters, a save every 50 steps. Legs of 50 steps take turns: without a
save, with one in the background, with one that is waited for, and with DeepSpeed's own `save_checkpoint`, which neither
flushes nor hashes.
"""

from __future__ import annotations

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
NOT, BACKGROUND, WAITED, DEEPSPEED = "no save", "background", "background: false", "DeepSpeed's save_checkpoint"


def measure(config: PretrainConfig, folder: Path) -> tuple[dict[str, tuple[float, float]], float, float]:
    """(kind -> median seconds of a leg and of standing still in it, MB of a checkpoint, MB of DeepSpeed's)."""
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
        NOT: lambda: 0.0,
        BACKGROUND: lambda: ours(wait=False),
        WAITED: lambda: ours(wait=True),
        DEEPSPEED: deepspeed,
    }
    for save in kinds.values():  # buffers, lazy imports
        engine.train_step(batches, LR)
        save()
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(REPEATS):
        for kind, save in kinds.items():
            checkpointer.wait()
            start = time.perf_counter()
            stalled = save()
            for _ in range(EVERY):
                engine.train_step(batches, LR)
            checkpointer.wait()
            found[kind].append((time.perf_counter() - start, stalled))
    checkpointer.close()
    medians = {
        kind: (statistics.median(leg for leg, _ in legs), statistics.median(stall for _, stall in legs))
        for kind, legs in found.items()
    }
    return medians, megabytes(folder / "ours" / folder_name(step)), megabytes(theirs)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.mark.benchmark
@pytest.mark.timeout(2100)
def test_checkpoint(tmp_path: Path, table: list[Row]) -> None:
    batch = {"tokens": 1, "global_batch": BATCH, "micro_batch": BATCH}
    config = pretrain_config(tmp_path, tmp_path, model=MODEL, train=batch)
    ((legs, ours, theirs),) = ranks(1, measure, config, tmp_path, timeout=2000)
    alone = legs[NOT][0]
    still = {kind: f"{100 * stall / leg:.2f} % ({1000 * stall:.0f} ms)" for kind, (leg, stall) in legs.items()}
    extra = {kind: f"{100 * (leg / alone - 1):+.1f} %" for kind, (leg, _) in legs.items()}
    about = (
        f"{parameter_count(config.model, VOCAB) / 1e6:.1f}M parameters, {BATCH * LENGTH:,} tokens a step, "
        f"{1000 * alone / EVERY:.0f} ms a step"
    )
    for part, name, told, notes in (
        (1, "a checkpoint every 50 steps: training stands still", still, about),
        (0, "the same: wall time beside a run without", extra, f"{ours:.0f} MB; DeepSpeed's {theirs:.0f} MB"),
    ):
        peers = "; ".join(f"{kind} {told[kind]}" for kind in (WAITED, DEEPSPEED))
        ratio = legs[BACKGROUND][part] / legs[DEEPSPEED][part]
        table.append(Row(name, told[BACKGROUND], peers, f"{ratio:.3f}x DeepSpeed's", notes))
