"""Run an experiment: `python launch/experiment.py EXPERIMENT [KEY=VALUE]... [--dry-run]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

import typer

from data_prep.configfile import load
from launch import command
from pipeline.config.experiment import ExperimentConfig
from pipeline.experiments.run import ChildFailed, run, show_plan

Experiment = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="YAML file, see configs/experiments/.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="list the runs and what is missing of them, and run nothing")]


def main(experiment: Experiment, overrides: command.Overrides = None, dry_run: DryRun = False) -> None:
    """Run all arms of an experiment with all seeds, and write a table, a plot and one line a run.

    Each run is an ordinary one. What is complete is recognised and left out, so that after an interruption, or with
    more seeds, the same command does only what is missing.

    Examples:

      python launch/experiment.py configs/experiments/label-budget.yaml --dry-run

      WEBTEXT_DATA_ROOT=/data MODEL=runs/gpt/checkpoints/latest python launch/experiment.py
      configs/experiments/label-budget.yaml

      python launch/experiment.py configs/experiments/ablation.yaml "seeds=[1, 2, 3, 4, 5]"
    """
    settings = load(experiment, ExperimentConfig, overrides or [])
    if dry_run:
        show_plan(settings, experiment)
        return
    try:
        folder = run(settings, experiment)
    except ChildFailed as failed:
        print(failed.tail, file=sys.stderr)
        command.stop(f"{failed.child.title} ({failed.log})", failed.code)
    print((folder / "table.md").read_text())
    print(f"table, plot and one line a run: {folder}")


if __name__ == "__main__":
    command.run(main)
