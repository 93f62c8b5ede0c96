"""Decides for a batch script whether its training job is started again: slurm/common.sh calls it, people need not."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.configfile import load
from data_prep.errors import exit_on_user_error
from pipeline.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig
from pipeline.slurm import restarts
from pipeline.slurm.decide import MAX_FAILURES

if TYPE_CHECKING:
    from pipeline.complete import AnyConfig

SCHEMAS: dict[str, type[AnyConfig]] = {
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
}
EXAMPLES = """inside a batch script:
  python launch/requeue.py begin pretrain CONFIG KEY=VALUE...
      before the ranks start: exit code 0 if they may
  python launch/requeue.py end pretrain CONFIG KEY=VALUE... --code CODE_OF_SRUN --srun-errors FILE
      behind them: exit code 0 finished, 10 requeue this job (stdout: hosts to exclude, comma-separated), else stop with
      that code

Both keep RUN/slurm/restarts.json and read RUN/ended.json and the newest checkpoint's step.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="requeue.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("when", choices=["begin", "end"])
    result.add_argument("kind", choices=list(SCHEMAS))
    result.add_argument("config", metavar="CONFIG")
    result.add_argument("overrides", metavar="KEY=VALUE", nargs="*")
    result.add_argument("--code", type=int, default=0, help="exit code of srun")
    result.add_argument("--signalled", action="store_true", help="the job was asked to stop")
    result.add_argument("--srun-errors", metavar="FILE", help="lines `srun: error: ...`")
    result.add_argument("--max-failures", type=int, default=MAX_FAILURES, help="in a row, without a newer checkpoint")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_intermixed_args(arguments)
    with exit_on_user_error():
        run = load(args.config, SCHEMAS[args.kind], args.overrides).run
        run_dir = Path(run.dir) / run.name
        if args.when == "begin":
            may, line = restarts.begin(run_dir, os.environ)
            print(line, flush=True)
            sys.exit(0 if may else 1)
        lines = Path(args.srun_errors).read_text(errors="replace").splitlines() if args.srun_errors else []
        decision = restarts.end(run_dir, os.environ, args.code, args.signalled, lines, args.max_failures)
        print(decision.line, file=sys.stderr, flush=True)
        print(",".join(decision.exclude))
        sys.exit(decision.code)


if __name__ == "__main__":
    main()
