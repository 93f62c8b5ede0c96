"""What all training and evaluation commands share on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from data_prep.errors import exit_on_user_error
from pipeline.exit_codes import EPILOG, RunEnd

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file, see configs/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings that win over the file, section.key=value.", show_default=False),
]
# The `deepspeed` launcher hands its rank to the script; ours reads the environment, as under any other launcher.
LocalRank = Annotated[int, typer.Option("--local_rank", "--local-rank", hidden=True)]


def run(main: Callable[..., None]) -> None:
    """Run a command function with the exit codes of this project."""
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)(main)
    speak = first_rank()
    try:
        with exit_on_user_error(speak):
            app()
    except RunEnd as early:
        if speak:
            print(f"{early.code.name.lower()}: {early.reason}", file=sys.stderr, flush=True)
        _leave(SystemExit(int(early.code)))
    except SystemExit as end:
        _leave(end)


def stop(what: str, code: int) -> NoReturn:
    """End because a command that this one ran has failed.

    Args:
        what: which one.
        code: its exit code, that of this process too; 1 where a signal ended it.
    """
    print(
        f"stopped: {what} ended with exit code {code}; run the same command again to continue from what is complete",
        file=sys.stderr,
    )
    sys.exit(code if 0 < code < 128 else 1)


def first_rank() -> bool:
    """Whether this process is the one of a job that speaks."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def end_with(main: Callable[[], None]) -> None:
    """Run a command that reads its own arguments, and end the process."""
    try:
        main()
    except SystemExit as end:
        _leave(end)
    _leave(SystemExit(0))


def _leave(end: SystemExit) -> None:
    """End the process; once ranks have run, without tearing the interpreter down.

    Threads of the communication libraries can abort a rank there, after all its work is done and on the disk, and the
    launcher would report a failure.
    """
    if "deepspeed" not in sys.modules:
        raise end
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
