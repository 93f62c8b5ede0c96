"""Compares runs: tables here; plots, differences and lineage in one self-contained HTML page; Markdown and CSV.

Runs are those of an MLflow experiment, some of them by name or id, or run folders. The page appears in MLflow, too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import UserError, exit_on_user_error
from pipeline.report import files, tracked
from pipeline.report.folders import load_folders
from pipeline.report.query import load, run_page
from pipeline.report.runs import Comparison
from pipeline.report.sections import analyse
from pipeline.report.table import show
from pipeline.tracking.uri import DEFAULT_EXPERIMENT, ENVIRONMENT, resolve_uri

EXAMPLES = """examples:
  python launch/compare.py
      all runs of the experiment in runs/mlflow.db: tables, and runs/report.html, .md and .csv
  python launch/compare.py --runs runs/demo --output demo.html
      the demo's store, runs/demo/mlflow.db
  python launch/compare.py gpt2-124m gpt2-355m zero-shot-124m zero-shot-355m
      these runs; of evaluations, the first is the one that the others are compared with example by example
  python launch/compare.py runs/gpt2-124m runs/experiments/layers
      run folders, without any store
  MLFLOW_TRACKING_URI=http://tracking:5000 python launch/compare.py --experiment webtext-124m

exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="compare.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "run", nargs="*", help="run folders, or names or ids of runs in MLflow (default: all of the experiment)"
    )
    result.add_argument("--experiment", default=DEFAULT_EXPERIMENT, help="MLflow experiment (default: %(default)s)")
    result.add_argument(
        "--uri", help="MLflow store (default: RUNS/mlflow.db as SQLite); the variable MLFLOW_TRACKING_URI wins"
    )
    result.add_argument("--runs", default="runs", help="folder of the default store (default: %(default)s)")
    result.add_argument(
        "--output", help="the page to write, with .md and .csv beside it (default: RUNS/report.html)", metavar="HTML"
    )
    return result


def read(args: argparse.Namespace) -> tuple[Comparison, str | None]:
    """The runs, and the store to tell: that which they were read from; of run folders, one that was named."""
    if any(Path(name).is_dir() for name in args.run):
        named = args.uri is not None or ENVIRONMENT in os.environ
        return load_folders(args.run), resolve_uri(args.uri, args.runs) if named else None
    uri = resolve_uri(args.uri, args.runs)
    return load(uri, args.experiment, args.run), uri


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(arguments)
    with exit_on_user_error():
        output = Path(args.output or Path(args.runs) / "report.html")
        if output.suffix != ".html":
            raise UserError("the page is an .html file", where=f"--output {output}", fix=f"{output}.html")
        comparison, uri = read(args)
        analysis = analyse(comparison)
        console = Console()
        for table in analysis.tables:
            show(table, console)
        if not analysis.tables:
            print(f"the experiment {comparison.experiment!r} holds no run of the pipeline yet")
        written = files.write(output, analysis)
        print(f"report: {', '.join(map(str, written))}")
        if uri is not None:
            logged = tracked.log(output, written, analysis, uri, args.experiment)
            print(f"in MLflow: {run_page(uri, logged.experiment_id, logged.run_id) or logged.run_id}")


if __name__ == "__main__":
    main()
