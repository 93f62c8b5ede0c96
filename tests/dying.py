"""Training that is killed in the middle."""

from __future__ import annotations

import os
import signal
from typing import Any

from pipeline.config.schema import FinetuneConfig, PretrainConfig
from pipeline.finetune.run import finetune
from pipeline.pretrain import pretrain
from pipeline.train import trainer


def killed_in_step(config: PretrainConfig | FinetuneConfig, step: int, rank: int) -> dict[str, Any]:
    """Train; the given rank gets SIGKILL when it begins the given step, with all checkpoints before it written."""
    config = config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update={"background": False})})
    original, seen = trainer.learning_rate, 0

    def learning_rate(*args: Any) -> float:
        nonlocal seen
        seen += 1
        if seen == step and int(os.environ["RANK"]) == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    trainer.learning_rate = learning_rate
    return pretrain(config) if isinstance(config, PretrainConfig) else finetune(config)
