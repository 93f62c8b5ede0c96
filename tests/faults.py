"""Faults put into real training, from outside: the product knows nothing of them."""

from __future__ import annotations

import gc
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import UserError
from pipeline import distributed
from pipeline import pretrain as pretraining
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import Batch, PackedWindows
from pipeline.data.order import Int
from pipeline.exit_codes import RunEnd
from pipeline.train.engine import Engine, StepResult
from pipeline.train.pipe_engine import PipeEngine

Change = Callable[[torch.Tensor], torch.Tensor]
CHANGES: dict[str, Change] = {
    "nan": lambda loss: loss * math.nan,
    "infinite loss": lambda loss: loss + math.inf,  # whose gradients are finite
    "exploding": lambda loss: loss * 1e4,
}


def change_loss(engine: Engine, change: Callable[[], Change | None]) -> None:
    """Let every loss that an engine computes from now on pass through what `change` gives at that time."""

    def changed(loss: torch.Tensor) -> torch.Tensor:
        how = change()
        return loss if how is None else how(loss)

    if isinstance(engine, PipeEngine):
        nll = engine._nll

        def with_change(*args: Any) -> Any:
            total, count = nll(*args)
            return changed(total), count

        engine._nll = with_change
        return

    def hook(module: torch.nn.Module, inputs: Any, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: changed(value) if name in ("loss", "nll") else value for name, value in out.items()}

    engine._engine.module.register_forward_hook(hook)  # type: ignore[attr-defined]


class MarkedBatch(dict[str, Any]):
    """A micro-batch that holds bad samples."""


@dataclass
class Faults:
    """What goes wrong in a run.

    Attributes:
        bad: sample numbers [first, end) whose loss is changed.
        how: name among `CHANGES`.
        signals: step -> signal that a rank gets when it begins it.
        rank: which one.
        sleep_at: step in which that rank sleeps for ever; 0 for none.
        touch: step -> file that appears.
    """

    bad: tuple[int, int] = (0, 0)
    how: str = "nan"
    signals: tuple[tuple[int, int], ...] = ()
    rank: int = 1
    sleep_at: int = 0
    touch: tuple[tuple[int, str], ...] = ()


def sleeping() -> None:
    """For ever, as seen from a test."""
    time.sleep(600)


def _samples(faults: Faults) -> type[PackedWindows]:
    class Marked(PackedWindows):
        def batch(self, samples: Int) -> Batch:
            found = super().batch(samples)
            first, end = faults.bad
            return MarkedBatch(found) if ((samples >= first) & (samples < end)).any() else found

    return Marked


def _spoil(engine: Engine, faults: Faults, steps: list[int]) -> Engine:
    now: list[Change | None] = [None]
    change_loss(engine, lambda: now[0])
    train_step = engine.train_step
    mine = int(os.environ["RANK"]) == faults.rank

    def spoiled(micro_batches: Sequence[Batch], lr: float) -> StepResult:
        step = steps[-1]
        if mine:
            for at, number in faults.signals:
                if at == step:
                    os.kill(os.getpid(), number)
            for at, path in faults.touch:
                if at == step:
                    Path(path).touch()
            if faults.sleep_at == step:
                sleeping()
        now[0] = CHANGES[faults.how] if any(isinstance(one, MarkedBatch) for one in micro_batches) else None
        result = train_step(micro_batches, lr)
        now[0] = None
        return result

    engine.train_step = spoiled  # type: ignore[method-assign]
    return engine


def train(config: PretrainConfig, faults: Faults) -> dict[str, Any]:
    """Pretrain with faults."""
    from pipeline.train import trainer

    steps: list[int] = []
    build, step = pretraining.build_engine, trainer.Trainer._step

    def noting(self: Any, read: Any, *args: Any) -> None:
        steps.append(read.cursor.step)
        step(self, read, *args)

    plain = pretraining.PackedWindows
    trainer.Trainer._step = noting  # type: ignore[method-assign]
    pretraining.build_engine = lambda *args: _spoil(build(*args), faults, steps)
    pretraining.PackedWindows = _samples(faults)  # type: ignore[misc]
    try:
        return pretraining.pretrain(config)
    finally:
        pretraining.build_engine, trainer.Trainer._step = build, step  # type: ignore[method-assign]
        pretraining.PackedWindows = plain  # type: ignore[misc]


def starts(plan: list[tuple[PretrainConfig, Faults]]) -> list[str]:
    """Start one run after another, in one process group; "done", or the exit code and the line of each."""
    world = distributed.init()
    distributed.init = lambda *_: world  # type: ignore[assignment]
    distributed.shutdown = lambda: None  # type: ignore[assignment]
    said = []
    for config, faults in plan:
        try:
            train(config, faults)
            said.append("done")
        except RunEnd as end:
            said.append(f"{int(end.code)} {end}")
        except UserError as error:
            said.append(f"2 {error}")
        gc.collect()  # what holds the folder's lock; else a process ends with its run
    return said


SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
