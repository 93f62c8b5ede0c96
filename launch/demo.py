"""Run the whole chain from raw input to the report: `python launch/demo.py [CHAIN] [KEY=VALUE]...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

import typer

from data_prep.configfile import load
from launch import command
from pipeline.chain import ChainConfig, StepFailed, run
from pipeline.commands import HOME

DEFAULT = "configs/chain/demo.yaml"
Chain = Annotated[
    str,
    typer.Argument(metavar="CHAIN", help="YAML file that lists the steps, see configs/chain/.", show_default=DEFAULT),
]


def main(chain: Chain = str(HOME / DEFAULT), overrides: command.Overrides = None) -> None:
    """Run the whole chain: raw input, data preparation, pretraining, fine-tuning, evaluation, report.

    What is complete is recognised and left out; after an interruption the same command goes on.

    Examples:

      python launch/demo.py

      python launch/demo.py root=runs/other

      WEBTEXT_DATA_ROOT=/data python launch/demo.py configs/chain/e2e.yaml
    """
    if "=" in chain and not Path(chain).exists():
        chain, overrides = str(HOME / DEFAULT), [chain, *(overrides or [])]
    settings = load(chain, ChainConfig, overrides or [])
    try:
        run(settings, chain)
    except StepFailed as failed:
        command.stop(failed.title, failed.code)


if __name__ == "__main__":
    command.run(main)
