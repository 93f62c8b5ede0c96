"""The whole chain as one list of commands, from raw input to the report.

Each step is a command that a user could type; the chain only fills in paths, leaves out what is complete, and stops at
the first failure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from data_prep import configfile, store
from data_prep.configfile import Count, Settings
from data_prep.errors import UserError
from data_prep.progress import clock
from pipeline.commands import call, program, relative, script, training_script, with_free_port
from pipeline.complete import AnyConfig, result_of
from pipeline.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig
from pipeline.slurm.options import ChainSlurmConfig
from pipeline.tracking.uri import resolve_uri


class StepConfig(Settings):
    """One training or evaluation command.

    Attributes:
        config: its file, relative to the chain's own, also where a `base:` of the chain names it.
        set: settings that win over the file, `section.key=value`.
        ranks: processes of a training step; one runs without a launcher. The chain's own number if not given.
    """

    config: str
    set: tuple[str, ...] = ()
    ranks: Annotated[Count, Field(gt=0)] | None = None


class InputConfig(Settings):
    """Raw input of data preparation.

    Attributes:
        dumps: Pushshift files; environment variables are filled in.
        archives: WARC files; likewise.
    """

    dumps: list[str]
    archives: list[str]


class ChainConfig(Settings):
    """The whole chain.

    Attributes:
        root: everything is written below this folder.
        input: raw input; if not given, it is made from the documentation on this machine.
        data: the data-preparation step.
        pretrain: pretraining steps; the others start from the first one's last checkpoint.
        finetune: fine-tuning steps.
        evaluate: evaluation steps.
        ranks: processes per training step.
        device: "cpu", or "auto" for GPUs where there are any.
        experiment: MLflow experiment.
        slurm: what `launch/submit.py` asks of Slurm; a chain that runs here does not look at it.
    """

    root: str
    input: InputConfig | None = None
    data: StepConfig
    pretrain: Annotated[tuple[StepConfig, ...], Field(min_length=1)]
    finetune: tuple[StepConfig, ...] = ()
    evaluate: tuple[StepConfig, ...] = ()
    ranks: Annotated[Count, Field(gt=0)] = 2
    device: Literal["cpu", "auto"] = "cpu"
    experiment: str = "webtext"
    slurm: ChainSlurmConfig = ChainSlurmConfig()


Kind = Literal["input", "data", "track", "pretrain", "finetune", "evaluate", "compare"]


@dataclass(frozen=True)
class Step:
    """One command of the chain.

    Attributes:
        kind: what it does.
        name: of the run, or the kind where there is one of it.
        title: what it does, in a few words.
        command: the arguments, program first.
        is_complete: whether there is nothing left to do; cheap. Never for steps that find out themselves.
        after: names of the steps that must be complete before it.
        settings: of a step with a config: its file, then what wins over it.
        ranks: processes of a training step.
    """

    kind: Kind
    name: str
    title: str
    command: tuple[str, ...]
    is_complete: Callable[[], bool]
    after: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    ranks: int = 1


def _expand(patterns: Sequence[str], where: str) -> str:
    """Patterns with environment variables filled in, as an override's value.

    Raises:
        UserError: a variable is not set.
    """
    filled = [os.path.expandvars(pattern) for pattern in patterns]
    for pattern in filled:
        if "$" in pattern:
            name = pattern.partition("$")[2].strip("{").partition("}")[0].partition("/")[0]
            raise UserError(
                f"the environment variable {name} is not set", where=f"{where}, {pattern}", fix=f"set {name}=FOLDER"
            )
    return "[" + ", ".join(filled) + "]"


def _run_is_complete(path: str, schema: type[AnyConfig], overrides: Sequence[str]) -> bool:
    try:
        return result_of(configfile.load(path, schema, overrides)) is not None
    except UserError:
        return False  # what it reads is not there yet; the step itself says so if it stays away


def steps(chain: ChainConfig, file: str) -> list[Step]:
    """The commands of a chain, in order.

    Args:
        chain: the chain.
        file: the file it was read from; step configs are relative to it.

    Raises:
        UserError: a step's config is missing or wrong.
    """
    root, home = chain.root, Path(file).parent
    data, shards = store.join(root, "data"), store.join(root, "data", "shards")
    found: list[Step] = []

    def never() -> bool:
        return False

    if chain.input is None:
        made = store.join(root, "input")
        # Made once: packages installed later would be another corpus, on which the finished runs were not trained.
        dump = store.join(made, "dump", "stage.json")
        command = (program("data-prep"), "demo-input", made)
        found.append(Step("input", "input", "make the raw input", command, lambda: store.exists(dump)))
        dumps, archives = f"[{made}/dump/RS_demo.zst]", f"['{made}/pages/part-*.warc.gz']"
    else:
        dumps = _expand(chain.input.dumps, "input.dumps")
        archives = _expand(chain.input.archives, "input.archives")
    prepare = (f"root={data}", f"inputs.dumps={dumps}", f"inputs.archives={archives}", *chain.data.set)
    settings = (relative(home / chain.data.config), *prepare)
    before = tuple(step.name for step in found)
    prepared = (program("data-prep"), "run", *settings)
    found.append(Step("data", "data", "prepare the data", prepared, never, before, settings))
    tracking = (f"run.dir={root}", f"tracking.experiment={chain.experiment}")
    tracked = (*script("track.py"), "data", data, "--experiment", chain.experiment, "--runs", root)
    found.append(Step("track", "track", "track the data", tracked, never, ("data",)))

    def train(kind: Kind, title: str, step: StepConfig, schema: type[AnyConfig], given: Sequence[str]) -> None:
        path, ranks = relative(home / step.config), step.ranks or chain.ranks
        overrides = [*tracking, *given, *step.set]
        name = configfile.load(path, schema, overrides).run.name
        launched = training_script(f"{kind}.py", 1 if kind == "evaluate" else ranks)
        command = (*launched, path, *overrides)
        after = ("data",) if kind == "pretrain" else (first,)
        found.append(
            Step(
                kind,
                name,
                f"{title} {name}",
                command,
                lambda: _run_is_complete(path, schema, overrides),
                after,
                (path, *overrides),
                ranks,
            )
        )

    for step in chain.pretrain:
        train("pretrain", "pretrain", step, PretrainConfig, [f"data.path={shards}"])
    first = _first_run(found)
    latest = store.join(root, first, "checkpoints", "latest")
    for step in chain.finetune:
        labelled = [f"init.checkpoint={latest}", f"task.path={data}/tasks/labelled"]
        train("finetune", "fine-tune", step, FinetuneConfig, labelled)
    for step in chain.evaluate:
        held_out = [f"checkpoint={latest}", f"perplexity.path={shards}", f"choice.path={data}/tasks/choice/test.jsonl"]
        train("evaluate", "evaluate", step, EvaluateConfig, held_out)
    compared = (*script("compare.py"), "--experiment", chain.experiment, "--runs", root)
    everything = tuple(step.name for step in found if step.kind != "input")
    found.append(Step("compare", "compare", "compare", compared, never, everything))
    return found


def _first_run(found: Sequence[Step]) -> str:
    """Name of the run that the others start from."""
    return next(step.name for step in found if step.kind == "pretrain")


class StepFailed(Exception):
    """A command of the chain ended with an error.

    Attributes:
        title: the step.
        code: its exit code.
    """

    def __init__(self, title: str, code: int) -> None:
        super().__init__(title, code)
        self.title, self.code = title, code


def run(chain: ChainConfig, file: str) -> None:
    """Run what is not complete.

    Raises:
        StepFailed: a step ended with another exit code than 0.
    """
    everything = steps(chain, file)
    begin = time.monotonic()
    for number, step in enumerate(everything, 1):
        heading = f"[{number}/{len(everything)}] {step.title}"
        if step.is_complete():
            print(f"{heading}: complete", flush=True)
            continue
        command = with_free_port(step.command)
        print(f"{heading}\n  $ {' '.join(command)}", flush=True)
        start = time.monotonic()
        code = call(command, chain.root, chain.device)
        if code != 0:
            raise StepFailed(step.title, code)
        print(f"  {step.title}: {clock(time.monotonic() - start)}", flush=True)
    root = chain.root
    print(
        f"""
All done in {clock(time.monotonic() - begin)}.
  data         {root}/data  (token shards: {root}/data/shards)
  checkpoints  {root}/{_first_run(everything)}/checkpoints
  report       {root}/report.html
  MLflow       {program("mlflow")} ui --backend-store-uri {resolve_uri(None, root)}"""
    )
