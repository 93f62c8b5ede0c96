"""Brings MLflow up to date with what lies on disk: data stages, and runs made while the server was away."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import exit_on_user_error
from pipeline.tracking.data_runs import track_data
from pipeline.tracking.mlflow import sync
from pipeline.tracking.runfolder import RunRecord
from pipeline.tracking.uri import DEFAULT_EXPERIMENT, resolve_uri, shown

EXAMPLES = """examples:
  python launch/track.py data runs/demo/data --runs runs/demo
      a run for every completed data stage, with its counts, settings and lineage, and the page and figures that
      `data-prep report` made of it
  python launch/track.py sync runs/demo/demo-pretrain --runs runs/demo
      send what MLflow lacks of a run; nothing is sent twice
  MLFLOW_TRACKING_URI=http://tracking:5000 python launch/track.py sync runs/demo/demo-*
      the same into another store

exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="track.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--uri", help="MLflow store (default: RUNS/mlflow.db as SQLite); the variable MLFLOW_TRACKING_URI wins"
    )
    common.add_argument("--runs", default="runs", help="folder of the default store (default: runs)")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data = commands.add_parser("data", parents=[common], help="track the completed stages under a data root")
    data.add_argument("data_root", metavar="DATA_ROOT", help="`root` of the data config")
    data.add_argument("--experiment", default=DEFAULT_EXPERIMENT, help="MLflow experiment (default: %(default)s)")
    again = commands.add_parser("sync", parents=[common], help="send what MLflow lacks of run folders")
    again.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", help="a folder with run.json")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(arguments)
    with exit_on_user_error():
        uri = resolve_uri(args.uri, args.runs)
        if args.command == "data":
            for stage, run_dir in track_data(args.data_root, uri, args.experiment).items():
                record = RunRecord.load(run_dir)
                final, report = record.final, "  with its report" if record.artifacts else ""
                print(
                    f"{stage:<16} {final['rows_in']:>12,.0f} -> {final['rows_out']:>12,.0f} rows "
                    f"{final['seconds']:>9,.1f} s   {run_dir}{report}"
                )
        else:
            for run_dir in args.run_dirs:
                result = sync(run_dir, uri)
                print(f"{run_dir}: run {result.run_id}, {result.points:,} new points")
        print(f"tracked in {shown(uri)}")


if __name__ == "__main__":
    main()
