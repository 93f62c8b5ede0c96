"""Fine-tune a pretrained GPT on a labelled task: `deepspeed launch/finetune.py CONFIG [KEY=VALUE]...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

import typer

from data_prep.configfile import load
from launch import command
from pipeline.complete import result_of
from pipeline.config.schema import FinetuneConfig

Explore = Annotated[
    Path | None,
    typer.Option(metavar="PAGE.html", help="Only look at the task: warnings and a page.", show_default=False),
]


def main(
    config: command.Config,
    overrides: command.Overrides = None,
    explore: Explore = None,
    local_rank: command.LocalRank = 0,
) -> None:
    """Fine-tune a pretrained GPT on a labelled task as in GPT-1, or continue an earlier start of the same run.

    Works under any launcher:

      deepspeed --num_accelerators 2 launch/finetune.py configs/finetune/demo.yaml

      deepspeed launch/finetune.py CONFIG init.checkpoint=RUN/checkpoints/latest

      deepspeed launch/finetune.py CONFIG init.checkpoint=FINETUNED/checkpoints/best   (from another task)

      deepspeed launch/finetune.py CONFIG init.checkpoint=models/gpt2   (a Hugging Face folder)

      python launch/finetune.py CONFIG init.weights=random run.name=from-scratch

      python launch/finetune.py CONFIG --explore task.html   (a look at the task; no training)

    `launch/predict.py RUN/checkpoints/best FILE` predicts with the result.
    """
    settings = load(config, FinetuneConfig, overrides or [])
    if explore is not None:
        from pipeline.finetune.look import look

        if command.first_rank():
            look(settings, explore, print)
        return
    if result_of(settings) is not None:
        if local_rank == 0:
            print(f"{settings.run.name}: complete, nothing to do")
        return
    from pipeline.finetune.run import finetune

    finetune(settings)


if __name__ == "__main__":
    command.run(main)
