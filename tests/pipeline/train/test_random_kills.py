from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import outcomes, ranks
from run_folder import assert_same_run
from small_model import pretrain_config

from pipeline.checkpoint.store import CheckpointStore, open_checkpoint
from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain
from pipeline.train import trainer

KILLS, MOST, STEPS = 20, 6, 100
"""Kills come in one of the first MOST steps of a start, so that the run does not end before the last of them."""


def _killed(config: PretrainConfig, step: int, seconds: float, rank: int) -> dict[str, Any]:
    """Train; one rank gets SIGKILL so many seconds after it began the given step since its start."""
    original, seen = trainer.learning_rate, 0

    def learning_rate(*args: Any) -> float:
        nonlocal seen
        seen += 1
        if int(os.environ["RANK"]) == rank:
            if seen == step:
                threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
            if seen == step + 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    trainer.learning_rate = learning_rate
    return pretrain(config)


@pytest.mark.slow
@pytest.mark.timeout(900)  # on two busy cores
def test_twenty_kills_change_nothing(small_dataset: Path, tmp_path: Path) -> None:
    def config(name: str) -> PretrainConfig:
        return pretrain_config(
            small_dataset,
            tmp_path,
            run={"name": name},
            model={"dropout": 0.1},
            train={"tokens": STEPS * 12 * 16, "micro_batch": 6},
            checkpoint={"every": 2, "milestone_tokens": 20 * 12 * 16},
            validation={"every": 20},
            health={"max_deaths": 1000},  # kills may well come twice in the same step
        )

    ranks(2, pretrain, config("whole"))
    draw = random.Random(6)
    run = tmp_path / "cut"
    reached = []
    for _ in range(KILLS):
        victim = draw.randrange(2)
        found = outcomes(2, _killed, config("cut"), draw.randint(1, MOST), draw.uniform(0, 0.05), victim)
        assert found[victim].exit_code == -signal.SIGKILL, found[victim].trace
        assert found[1 - victim].trace, "the other rank noticed"
        steps = CheckpointStore(run / "checkpoints", 2).steps()
        reached.append(max(steps, default=0))
        for step in steps:
            open_checkpoint(str(run / "checkpoints" / f"step_{step:08d}"))
    assert reached == sorted(reached)
    assert reached[-1] > 10
    first, _ = outcomes(2, pretrain, config("cut"))
    assert first.trace == ""
    assert f"resumed at step {reached[-1]} from" in first.output
    assert_same_run(tmp_path / "whole", run)
    assert CheckpointStore(run / "checkpoints", 2).steps() == [20, 40, 60, 80, 98, 100]
