"""The command line: `data-prep`.

The parts of the pipeline are imported where they are used: every worker process imports this module once more, and a
worker needs no more than its own stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from data_prep.errors import exit_on_user_error

if TYPE_CHECKING:
    from data_prep.chain import Chain

_ABOUT = """From Reddit dumps and web archives to token shards.

Every stage checks what is complete and goes on from there, also after Ctrl-C or kill -9.

Exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted.
"""
_EXAMPLES = """Examples:

data-prep {command} configs/data/demo.yaml

data-prep {command} configs/data/demo.yaml root=runs/other --workers 2

DUMPS=/dumps WARCS=/warcs data-prep {command} configs/data/webtext.yaml

RAY_ADDRESS=auto data-prep {command} configs/data/webtext.yaml --executor ray
"""

app = typer.Typer(help=_ABOUT, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file, for example configs/data/webtext.yaml")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="settings that win over the file, section.key=value", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="tasks at a time; default: one a core, here or of the cluster", show_default=False),
]


class ExecutorChoice(Enum):
    """What runs the tasks of a stage."""

    LOCAL = "local"
    RAY = "ray"


Executor = Annotated[
    ExecutorChoice, typer.Option(help="processes here, or a Ray cluster (RAY_ADDRESS) that sees the same folders")
]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chain(config: str, overrides: list[str] | None, workers: int | None, executor: ExecutorChoice) -> Chain:
    from data_prep import configfile
    from data_prep.chain import Chain
    from data_prep.config import DataConfig

    settings = configfile.load(config, DataConfig, overrides or [])
    if executor is ExecutorChoice.RAY:
        from data_prep.ray_executor import connect

        available = connect()
    else:
        available = cores()
    return Chain(settings, workers or available, executor=executor.value)


@app.command(epilog=_EXAMPLES.format(command="run"))
def run(
    config: Config,
    overrides: Overrides = None,
    workers: Workers = None,
    executor: Executor = ExecutorChoice.LOCAL,
) -> None:
    """Run all stages from the dumps to the token shards and the tasks, and print the funnel."""
    from data_prep.chain import print_funnel

    with exit_on_user_error():
        print_funnel(_chain(config, overrides, workers, executor).run())


def _stage_command(
    command: str, stages: list[str], first: bool
) -> Callable[[Config, Overrides, Workers, Executor], None]:
    def one(
        config: Config,
        overrides: Overrides = None,
        workers: Workers = None,
        executor: Executor = ExecutorChoice.LOCAL,
    ) -> None:
        from data_prep.chain import print_funnel

        with exit_on_user_error():
            print_funnel(_chain(config, overrides, workers, executor).run_command(command))

    named = f"Run the stage{'s' if len(stages) > 1 else ''} {', '.join(stages)}"
    one.__doc__ = f"{named}." if first else f"{named}; the stages before must be complete."
    return one


@app.command("demo-input", epilog="Example: data-prep demo-input runs/demo/input")
def demo_input(
    folder: Annotated[str, typer.Argument(help="where the dump and the archives are written")], workers: Workers = None
) -> None:
    """Make raw input from the documentation on this machine: real text, made-up submissions."""
    from data_prep import machine_docs

    with exit_on_user_error():
        made = machine_docs.make(folder, workers=workers or cores())
        print(f"{made.pages:,} pages: {made.archives}")
        print(f"{made.submissions:,} submissions, MADE UP: {made.dumps}")


@app.command(epilog="Example: data-prep verify runs/demo/data/shards")
def verify(folder: Annotated[str, typer.Argument(help="a token dataset: the folder of the shards stage")]) -> None:
    """Hash every file of a token dataset and compare with its manifest."""
    from data_prep.shards import DatasetManifest

    with exit_on_user_error():
        manifest = DatasetManifest.load(folder)
        manifest.verify(folder)
        for name, split in manifest.splits.items():
            print(f"{name}: {split.documents:,} documents, {split.tokens:,} tokens, {len(split.shards)} shards: intact")
        print(f"tokenizer: {manifest.vocab_size:,} ids: intact")
        print(f"dataset {manifest.digest}")


def application() -> typer.Typer:
    """The commands above and one for each command of the chain."""
    from data_prep.steps import COMMANDS, STEPS

    for name in COMMANDS:
        stages = [step.name for step in STEPS if step.command == name]
        app.command(name, epilog=_EXAMPLES.format(command=name))(
            _stage_command(name, stages, first=name == COMMANDS[0])
        )
    return app


def main() -> None:
    """Entry point of the `data-prep` script."""
    application()()


if __name__ == "__main__":
    main()
