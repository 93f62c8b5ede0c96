"""Compares the runs of an MLflow experiment: tables here, plots and lineage in one self-contained HTML page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import exit_on_user_error
from pipeline.report import page
from pipeline.report.query import load
from pipeline.report.table import show, tables
from pipeline.tracking.uri import DEFAULT_EXPERIMENT, resolve_uri

EXAMPLES = """examples:
  python launch/compare.py
      tables of the experiment in runs/mlflow.db, and runs/report.html
  python launch/compare.py --runs runs/demo --output demo.html
      the demo's store, runs/demo/mlflow.db
  MLFLOW_TRACKING_URI=http://tracking:5000 python launch/compare.py --experiment webtext-124m

exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="compare.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--experiment", default=DEFAULT_EXPERIMENT, help="MLflow experiment (default: %(default)s)")
    result.add_argument(
        "--uri", help="MLflow store (default: RUNS/mlflow.db as SQLite); the variable MLFLOW_TRACKING_URI wins"
    )
    result.add_argument("--runs", default="runs", help="folder of the default store (default: %(default)s)")
    result.add_argument("--output", help="the page to write (default: RUNS/report.html)")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(arguments)
    with exit_on_user_error():
        comparison = load(resolve_uri(args.uri, args.runs), args.experiment)
        console = Console()
        found = tables(comparison)
        for table in found:
            show(table, console)
        if not found:
            print(f"the experiment {args.experiment!r} holds no run of the pipeline yet")
        output = args.output or str(Path(args.runs) / "report.html")
        page.write(output, comparison)
        print(f"report: {output}")


if __name__ == "__main__":
    main()
