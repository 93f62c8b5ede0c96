"""Pretrain a GPT on a token dataset: `deepspeed launch/pretrain.py CONFIG [KEY=VALUE]...`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.configfile import load
from launch import command
from pipeline.complete import result_of
from pipeline.config.schema import PretrainConfig


def main(config: command.Config, overrides: command.Overrides = None, local_rank: command.LocalRank = 0) -> None:
    """Pretrain a GPT on a token dataset, or continue where an earlier start of the same run ended.

    Works under any launcher:

      deepspeed --num_accelerators 2 launch/pretrain.py configs/pretrain/demo.yaml

      deepspeed launch/pretrain.py CONFIG optimizer.lr=3e-4 run.name=lower-lr

      torchrun --nproc_per_node 2 launch/pretrain.py configs/pretrain/demo.yaml

      srun --ntasks-per-node 8 python launch/pretrain.py CONFIG   (one task a rank)

      python launch/pretrain.py configs/pretrain/demo.yaml   (one rank)
    """
    settings = load(config, PretrainConfig, overrides or [])
    if result_of(settings) is not None:
        if local_rank == 0:
            print(f"{settings.run.name}: complete, nothing to do")
        return
    from pipeline.pretrain import pretrain

    pretrain(settings)


if __name__ == "__main__":
    command.run(main)
