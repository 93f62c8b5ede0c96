"""Submit the whole chain as Slurm jobs that wait for each other: `python launch/submit.py CHAIN [KEY=VALUE]...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

import typer

from data_prep.configfile import load
from data_prep.errors import UserError
from launch import command
from pipeline.chain import ChainConfig, steps
from pipeline.slurm import submit

Chain = Annotated[str, typer.Argument(metavar="CHAIN", help="YAML file that lists the steps, see configs/chain/.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the sbatch lines, submit nothing.")]
Status = Annotated[bool, typer.Option("--status", help="Show every step, its job and how far it is.")]


def main(chain: Chain, overrides: command.Overrides = None, dry_run: DryRun = False, status: Status = False) -> None:
    """Submit data preparation, pretraining, fine-tuning, evaluation and comparison, each after what it needs.

    Run it again after a failure, or after adding a step: what is complete or queued is left alone.

    What the jobs ask for stands in the chain's section slurm:, see docs/cluster.md.

    Examples:

      python launch/submit.py configs/chain/demo.yaml --dry-run

      python launch/submit.py configs/chain/demo.yaml root=runs/x slurm.time=60

      python launch/submit.py configs/chain/demo.yaml root=runs/x --status
    """
    if dry_run and status:
        raise UserError("--dry-run and --status exclude each other", where="command line", fix="give one of them")
    settings = load(chain, ChainConfig, overrides or [])
    everything = steps(settings, chain)
    if not status:
        submitted = submit.submit(settings, everything, print, dry_run)
        if not dry_run:
            print(f"{len(submitted)} jobs submitted; the same command with --status shows how far they are")
        return
    rows = submit.status(settings, everything)
    names = ("step", "job", "state", "reason", "elapsed", "progress")
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    for row in [{name: name for name in names}, *rows]:
        print("  ".join(row[name].ljust(widths[name]) for name in names).rstrip())
    print(f"logs: {submit.Places.of(settings).folder}/STEP-JOB.log")


if __name__ == "__main__":
    command.run(main)
