"""Fine-tune a pretrained GPT on a labelled task: `deepspeed launch/finetune.py CONFIG [KEY=VALUE]...`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.configfile import load
from launch import command
from pipeline.complete import result_of
from pipeline.config.schema import FinetuneConfig


def main(config: command.Config, overrides: command.Overrides = None, local_rank: command.LocalRank = 0) -> None:
    """Fine-tune a pretrained GPT on a labelled task as in GPT-1, or continue an earlier start of the same run.

    Works under any launcher:

      deepspeed --num_accelerators 2 launch/finetune.py configs/finetune/demo.yaml

      deepspeed launch/finetune.py CONFIG init.checkpoint=RUN/checkpoints/latest

      python launch/finetune.py CONFIG init.weights=random run.name=from-scratch
    """
    settings = load(config, FinetuneConfig, overrides or [])
    if result_of(settings) is not None:
        if local_rank == 0:
            print(f"{settings.run.name}: complete, nothing to do")
        return
    from pipeline.finetune.run import finetune

    finetune(settings)


if __name__ == "__main__":
    command.run(main)
