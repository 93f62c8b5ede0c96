"""Plans a pretraining run before it starts: memory, time, batch ramp, disk, cost, and a topology that fits."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import EXIT_BAD_INPUT, UserError, exit_on_user_error
from pipeline.config.gpus import GPUS
from pipeline.plan import doctor, machine, report
from pipeline.plan.inputs import read
from pipeline.plan.plan import make
from pipeline.plan.published import table

EXAMPLES = f"""examples:
  python launch/plan.py configs/pretrain/gpt2-1558m.yaml
      on 8 H100, unless the file has a cluster: section
  python launch/plan.py configs/pretrain/gpt3-175b.yaml cluster.nodes=128 cluster.gpu=h100-80gb cluster.price=2.5
  python launch/plan.py configs/pretrain/gpt3-13b.yaml cluster.mfu=0.4 --json
      days at a stated utilisation; everything as JSON
  python launch/plan.py configs/pretrain/gpt1.yaml data.path=runs/books/shards
      vocabulary and windows of the dataset decide vocabulary and length
  python launch/plan.py --published
      the formulas against published runs, the table of docs/plan.md
  python launch/plan.py --doctor
      what this machine lacks, and what that costs

GPUs: {", ".join(GPUS)}

exit codes: 0 planned (whether it fits is in the plan), or a run is possible here (--doctor), 1 a defect of the
program, 2 bad input or settings, or no run is possible here, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="plan.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("config", metavar="CONFIG", nargs="?", help="YAML file of a pretraining run, see configs/")
    result.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="settings that win over the file")
    result.add_argument("--vocab-size", type=int, help="token ids (default: the dataset's, or GPT-2's)")
    result.add_argument("--json", action="store_true", help="print JSON: bytes and seconds")
    result.add_argument("--published", action="store_true", help="compare the formulas with published runs")
    result.add_argument("--doctor", action="store_true", help="what this machine lacks")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_intermixed_args(arguments)
    with exit_on_user_error():
        if args.doctor:
            findings = doctor.examine(machine.look())
            print(json.dumps([asdict(one) for one in findings], indent=1) if args.json else doctor.text(findings))
            sys.exit(EXIT_BAD_INPUT if any(one.fatal and one.found is None for one in findings) else 0)
        if args.published:
            print(table())
            return
        if args.config is None:
            raise UserError("no config file", where="command line", fix="give one, see --help")
        if args.vocab_size is not None and args.vocab_size < 1:
            raise UserError(f"--vocab-size {args.vocab_size}", where="command line", fix="give a positive number")
        plan = make(read(args.config, args.overrides, args.vocab_size), args.config, args.overrides)
        print(json.dumps(report.data(plan), indent=1) if args.json else report.text(plan))


if __name__ == "__main__":
    main()
