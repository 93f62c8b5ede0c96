"""Evaluate a checkpoint or a Hugging Face model: `python launch/evaluate.py CONFIG [KEY=VALUE]...`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.configfile import load
from launch import command
from pipeline.complete import result_of
from pipeline.config.schema import EvaluateConfig


def main(config: command.Config, overrides: command.Overrides = None, local_rank: command.LocalRank = 0) -> None:
    """Score a checkpoint, or all of a run: held-out perplexity, the suites of GPT-1, GPT-2 and GPT-3, what it has
    memorised, tasks of the lm-evaluation-harness. docs/evaluate.md says what each number is.

    Examples:

      python launch/evaluate.py configs/evaluate/demo.yaml

      python launch/evaluate.py configs/evaluate/demo.yaml checkpoint=runs/NAME/checkpoints/latest run.name=NAME-eval

      python launch/evaluate.py configs/evaluate/gpt2-zero-shot.yaml checkpoint=... suite.root=SETS suite.limit=50

      python launch/evaluate.py configs/evaluate/gpt1-heuristics.yaml checkpoint=runs/NAME/checkpoints suite.root=SETS

      python launch/evaluate.py configs/evaluate/demo.yaml harness.include_path=FOLDER 'harness.tasks=[TASK]'

      deepspeed --num_accelerators 2 launch/evaluate.py configs/evaluate/demo.yaml checkpoint=HUGGING_FACE_FOLDER
    """
    settings = load(config, EvaluateConfig, overrides or [])
    if result_of(settings) is not None:
        if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
            print(f"{settings.run.name}: complete, nothing to do")
        return
    from pipeline.evaluate.run import evaluate

    evaluate(settings)


if __name__ == "__main__":
    command.run(main)
