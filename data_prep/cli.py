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

DUMPS=/dumps WARCS=/warcs data-prep {command} configs/data/gpt2.yaml

RAY_ADDRESS=auto data-prep {command} configs/data/gpt2.yaml --executor ray

data-prep {command} configs/data/gpt2.yaml --executor slurm --workers 200 slurm.partition=cpu
"""

app = typer.Typer(help=_ABOUT, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

_MAKE, _STAGES, _LOOK, _TOOLS = "Make a corpus", "One command for each stage", "Look at a corpus", "Tools"

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file, for example configs/data/gpt2.yaml")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="settings that win over the file, section.key=value", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="tasks at a time; default: one a core, here or on the cluster; Slurm: no limit", show_default=False
    ),
]


Target = Annotated[
    str, typer.Argument(metavar="CONFIG|ROOT", help="YAML file, or the folder or fsspec URL that its `root` names")
]
StageName = Annotated[str | None, typer.Option(metavar="STAGE", help="name of a stage", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs instead of text")]


class ExecutorChoice(Enum):
    """What runs the tasks of a stage."""

    LOCAL = "local"
    RAY = "ray"
    SLURM = "slurm"


Executor = Annotated[
    ExecutorChoice,
    typer.Option(
        help="processes here; a Ray cluster (RAY_ADDRESS); or Slurm job arrays, one a stage (config section `slurm:`). "
        "All nodes must see the same folders"
    ),
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
    elif executor is ExecutorChoice.SLURM:
        from data_prep import slurm_executor

        slurm_executor.connect()
        available = 0  # Slurm's own limits
    else:
        available = cores()
    return Chain(settings, workers or available, executor=executor.value)


@app.command(epilog=_EXAMPLES.format(command="run"), rich_help_panel=_MAKE)
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


@app.command("demo-input", rich_help_panel=_TOOLS, epilog="Example: data-prep demo-input runs/demo/input")
def demo_input(
    folder: Annotated[str, typer.Argument(help="where the dump and the archives are written")], workers: Workers = None
) -> None:
    """Make raw input from the documentation on this machine: real text, made-up submissions."""
    from data_prep import machine_docs

    with exit_on_user_error():
        made = machine_docs.make(folder, workers=workers or cores())
        print(f"{made.pages:,} pages: {made.archives}")
        print(f"{made.submissions:,} submissions, MADE UP: {made.dumps}")


@app.command(rich_help_panel=_TOOLS, epilog="Example: data-prep verify runs/demo/data/shards")
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


_MIX_EXAMPLES = """Examples:

data-prep mix configs/data/mixtures/gpt3.yaml sources.wikipedia.path=runs/wikipedia/data/shards ...

data-prep mix mixture.yaml --output runs/mixture.json    (then: launch/pretrain.py CONFIG data.path=runs/mixture.json)
"""


@app.command(rich_help_panel=_MAKE, epilog=_MIX_EXAMPLES)
def mix(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE.json", help="the mixture that pretraining takes as data.path", show_default=False),
    ] = None,
) -> None:
    """Mix token datasets by weight: shares, epochs of each, and a manifest for pretraining.

    Without --output nothing is written.
    """
    from data_prep import mixture

    with exit_on_user_error():
        mixture.command(config, overrides or [], output)


class ExportFormat(Enum):
    """Formats of other trainers."""

    MEGATRON = "megatron"
    NANOGPT = "nanogpt"
    MODDED_NANOGPT = "modded-nanogpt"


_EXPORT_EXAMPLES = """Examples:

data-prep export runs/demo/data/shards --format megatron --output runs/demo/megatron    (prefix .../train)

data-prep export runs/demo/data/shards --format nanogpt --output nanoGPT/data/demo
"""


@app.command("export", rich_help_panel=_TOOLS, epilog=_EXPORT_EXAMPLES)
def export_dataset(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="a token dataset: the folder of the shards stage")],
    format: Annotated[
        ExportFormat,
        typer.Option(help="Megatron-LM's .bin and .idx; nanoGPT's train.bin and val.bin; modded-nanogpt's .bin shards"),
    ],
    output: Annotated[str, typer.Option(metavar="FOLDER", help="where to; what is complete there is left as it is")],
) -> None:
    """Write a token dataset in the format of another trainer; the dataset is verified first."""
    from data_prep.export import export

    with exit_on_user_error():
        files, already = export(dataset, format.value, output)
        for ref in files:
            print(f"{output.rstrip('/')}/{ref.path}: {ref.bytes:,} bytes")
        print("complete, verified" if already else "complete")


_TASK_EXAMPLES = """Examples:

data-prep task configs/data/gpt2.yaml links              plans the stage and says how many tasks it has

data-prep task configs/data/gpt2.yaml links 3            does task 3

sbatch --array=0-7 --wrap "data-prep task configs/data/gpt2.yaml links"

data-prep links configs/data/gpt2.yaml                   checks all tasks and completes the stage
"""


@app.command("task", rich_help_panel=_TOOLS, epilog=_TASK_EXAMPLES)
def task(
    config: Config,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="name of a stage")],
    rank: Annotated[
        str | None,
        typer.Argument(
            metavar="[RANK]", help="number of the task; default: $SLURM_ARRAY_TASK_ID, else the stage is only planned"
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Do one task of a stage by its rank; the stages before must be complete."""
    from data_prep import array_task

    with exit_on_user_error():
        array_task.command(config, stage, rank, overrides or [])


_PLAN_EXAMPLES = """Examples:

DUMPS=/dumps WARCS=/warcs data-prep plan configs/data/gpt2.yaml

data-prep plan configs/data/gpt2.yaml --sample 64MiB root=/data/webtext partitions=64
"""


@app.command(rich_help_panel=_MAKE, epilog=_PLAN_EXAMPLES)
def plan(
    config: Config,
    overrides: Overrides = None,
    sample: Annotated[str, typer.Option(metavar="BYTES", help="of dumps and of archives to measure")] = "8MiB",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Dry run: tasks, rows, bytes and core-hours of every stage, estimated from a sample of the real input.

    Runs the stages over the starts of some dumps and archives in a temporary folder, and scales what they take by
    bytes. Writes nothing else.
    """
    from data_prep import looks

    with exit_on_user_error():
        looks.plan(config, overrides or [], sample, workers or cores(), as_json)


_STATUS_EXAMPLES = """Examples:

data-prep status configs/data/gpt2.yaml

data-prep status runs/gpt2/data --watch

data-prep status s3://bucket/gpt2 --json | jq '.stages[] | select(.failed != [])'
"""


@app.command(rich_help_panel=_LOOK, epilog=_STATUS_EXAMPLES)
def status(
    target: Target,
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="look again every two seconds until all is complete")] = False,
    as_json: Json = False,
) -> None:
    """How far each stage and task is, also while another process runs them, and why tasks failed."""
    from data_prep import looks

    with exit_on_user_error():
        looks.status(target, overrides or [], watch, as_json)


_INSPECT_EXAMPLES = """Examples:

data-prep inspect configs/data/gpt2.yaml

data-prep inspect runs/gpt2/data --stage filter --reason other-language -n 20

data-prep inspect runs/gpt2/data --stage near-dedup --kept --seed 7 --json

data-prep inspect runs/gpt2/data --url http://example.org/page
"""


@app.command(rich_help_panel=_LOOK, epilog=_INSPECT_EXAMPLES)
def inspect(
    target: Target,
    overrides: Overrides = None,
    stage: StageName = None,
    reason: Annotated[
        str | None, typer.Option(metavar="REASON", help="only what was left out for it", show_default=False)
    ] = None,
    kept: Annotated[
        bool | None, typer.Option("--kept/--dropped", help="only what was kept, or left out", show_default="both")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=0, help="documents to show")] = 5,
    seed: Annotated[int, typer.Option(help="of the draw: the same seed shows the same documents")] = 0,
    id: Annotated[str | None, typer.Option(help="show one document's way: its id", show_default=False)] = None,
    url: Annotated[str | None, typer.Option(help="or its URL, as posted", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """What each stage kept and left out and why, with samples; or the way of one document."""
    from data_prep import looks

    with exit_on_user_error():
        looks.inspect(target, overrides or [], stage, reason, kept, n, seed, id, url, as_json)


_CARD_EXAMPLES = """Examples:

data-prep card configs/data/gpt2.yaml

data-prep card runs/gpt2/data --output runs/gpt2/data/README.md
"""


@app.command(rich_help_panel=_LOOK, epilog=_CARD_EXAMPLES)
def card(
    target: Target,
    overrides: Overrides = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="write it here instead of printing it", show_default=False)
    ] = None,
) -> None:
    """The data card in Markdown: sources, settings, funnel, reasons, shards and limits, from the manifests alone."""
    from data_prep import looks

    with exit_on_user_error():
        looks.card(target, overrides or [], output)


_REPORT_EXAMPLES = """Examples:

data-prep report configs/data/gpt2.yaml

data-prep report runs/gpt2/data --stage filter --domains domains.txt

python launch/track.py data runs/gpt2/data    (then: pages and figures to MLflow)
"""


@app.command(rich_help_panel=_LOOK, epilog=_REPORT_EXAMPLES)
def report(
    target: Target,
    overrides: Overrides = None,
    stage: StageName = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="the page; default: ROOT/report/STAGE.html", show_default=False),
    ] = None,
    domains: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="domains.txt of github.com/openai/gpt-2: WebText's 1,000 top domains; without it the first 20",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Exploratory analysis of a stage's documents as one HTML page: lengths, languages, domains, dates, samples."""
    from data_prep import looks

    with exit_on_user_error():
        looks.report(target, overrides or [], stage, output, domains)


def application() -> typer.Typer:
    """The commands above and one for each command of the chain."""
    from data_prep.steps import COMMANDS, STEPS

    for name in COMMANDS:
        stages = [step.name for step in STEPS if step.command == name]
        app.command(name, rich_help_panel=_STAGES, epilog=_EXAMPLES.format(command=name))(
            _stage_command(name, stages, first=name == COMMANDS[0])
        )
    panels = [_MAKE, _LOOK, _STAGES, _TOOLS]
    app.registered_commands.sort(key=lambda command: panels.index(str(command.rich_help_panel)))
    return app


def main() -> None:
    """Entry point of the `data-prep` script."""
    application()()


if __name__ == "__main__":
    main()
