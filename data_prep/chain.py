"""The chain of stages from raw dumps to token shards: which stage reads what of which, and how they run in order.

To add a stage, write it in a file of its own and give it a `Step` here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from data_prep import store
from data_prep.config import DataConfig
from data_prep.configfile import resolved
from data_prep.dedup import exact, near
from data_prep.errors import UserError
from data_prep.filter import FilterStage
from data_prep.links import LinksStage
from data_prep.manifest import FileRef, StageManifest
from data_prep.pages import PagesStage
from data_prep.progress import clock
from data_prep.reddit import SubmissionsStage
from data_prep.runner import ExecutorName, Say, run_stage, say
from data_prep.shard_stage import ShardsStage, ShardsStageSettings
from data_prep.stage import REMOVED_PREFIX, Stage
from data_prep.tasks import TasksStage, TasksStageSettings
from data_prep.tokenizer import TokenizerStage

Files = dict[str, list[FileRef]]
Digests = dict[str, str]
Build = Callable[[DataConfig, str, Files, Digests], Stage]

RAW = "inputs"
"""Where a label comes from if no stage made it: the config's section `inputs`."""
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")


@dataclass(frozen=True)
class Step:
    """One stage in its place.

    Attributes:
        name: the stage's name, and its folder under the root.
        command: the command that runs it; a command may run several steps.
        reads: label -> (stage, start of the names of the files wanted of it), or (RAW, field of `inputs`).
        build: makes the stage.
        funnel: whether its rows are the corpus, so that their number belongs into the funnel and must not be 0.
        lineage: whether it is given the digests of everything before it.
    """

    name: str
    command: str
    reads: Mapping[str, tuple[str, str]]
    build: Build
    funnel: bool = True
    lineage: bool = False


def _partitions(config: DataConfig) -> exact.PartitionSettings:
    return exact.PartitionSettings(partitions=config.partitions)


def _signatures(config: DataConfig) -> near.SignatureSettings:
    return near.SignatureSettings(**config.near_dedup.model_dump(), partitions=config.partitions)


def _shards(config: DataConfig) -> ShardsStageSettings:
    return ShardsStageSettings(**config.shards.model_dump(), name=config.name)


def _tasks(config: DataConfig) -> TasksStageSettings:
    return TasksStageSettings(**config.tasks.model_dump(), shards=config.shards)


STEPS: tuple[Step, ...] = (
    Step(
        "submissions",
        "links",
        {"dumps": (RAW, "dumps")},
        lambda c, folder, i, u: SubmissionsStage(folder, c.links, i, u, partitions=c.partitions),
    ),
    Step(
        "links",
        "links",
        {"submissions": ("submissions", "")},
        lambda c, folder, i, u: LinksStage(folder, c.links, i, u, partitions=c.partitions),
    ),
    Step(
        "pages",
        "pages",
        {"archives": (RAW, "archives"), "links": ("links", "part-")},
        lambda c, folder, i, u: PagesStage(folder, c.pages, i, u, source=c.name),
    ),
    Step("filter", "filter", {"documents": ("pages", "part-")}, lambda c, f, i, u: FilterStage(f, c.filter, i, u)),
    Step(
        "exact-keys",
        "exact-dedup",
        {"documents": ("filter", "part-")},
        lambda c, f, i, u: exact.ExactKeysStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-urls",
        "exact-dedup",
        {"keys": ("exact-keys", "")},
        lambda c, f, i, u: exact.ExactUrlsStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-duplicates",
        "exact-dedup",
        {"keys": ("exact-urls", "keys/")},
        lambda c, f, i, u: exact.ExactDuplicatesStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-dedup",
        "exact-dedup",
        {
            "documents": ("filter", "part-"),
            exact.SAME_URL: ("exact-urls", "lost/"),
            exact.SAME_TEXT: ("exact-duplicates", "part-"),
        },
        lambda c, f, i, u: exact.ExactDedupStage(f, exact.NoSettings(), i, u),
    ),
    Step(
        "near-signatures",
        "near-dedup",
        {"documents": ("exact-dedup", "part-")},
        lambda c, f, i, u: near.NearSignaturesStage(f, _signatures(c), i, u),
        funnel=False,
    ),
    Step(
        "near-edges",
        "near-dedup",
        {"bands": ("near-signatures", "bands/")},
        lambda c, f, i, u: near.NearEdgesStage(f, _partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "near-clusters",
        "near-dedup",
        {"edges": ("near-edges", "part-"), "members": ("near-signatures", "members/")},
        lambda c, f, i, u: near.NearClustersStage(f, exact.NoSettings(), i, u),
        funnel=False,
    ),
    Step(
        "near-dedup",
        "near-dedup",
        {"documents": ("exact-dedup", "part-"), near.NEAR_DUPLICATE: ("near-clusters", "part-")},
        lambda c, f, i, u: near.NearDedupStage(f, exact.NoSettings(), i, u),
    ),
    Step(
        "tokenizer",
        "tokenizer",
        {"documents": ("near-dedup", "part-")},
        lambda c, f, i, u: TokenizerStage(f, c.tokenizer, i, u),
        funnel=False,
    ),
    Step(
        "shards",
        "shards",
        {"documents": ("near-dedup", "part-"), "tokenizer": ("tokenizer", "tokenizer.json")},
        lambda c, f, i, u: ShardsStage(f, _shards(c), i, u),
        lineage=True,
    ),
    Step(
        "tasks",
        "tasks",
        {"documents": ("near-dedup", "part-")},
        lambda c, f, i, u: TasksStage(f, _tasks(c), i, u),
        funnel=False,
    ),
)
COMMANDS: tuple[str, ...] = tuple(dict.fromkeys(step.command for step in STEPS))


@dataclass(frozen=True)
class StepResult:
    """A stage that is complete.

    Attributes:
        step: the stage's place.
        folder: where it wrote.
        manifest: what it did.
        seconds: how long this run of it took, checks of what was complete included.
    """

    step: Step
    folder: str
    manifest: StageManifest
    seconds: float


class Chain:
    """The stages of one corpus.

    Args:
        config: the corpus.
        workers: processes at a time.
        say: prints a line.
        executor: what runs them.
    """

    def __init__(self, config: DataConfig, workers: int, say: Say = say, executor: ExecutorName = "local") -> None:
        self._config, self._workers, self._say = config, workers, say
        self._executor: ExecutorName = executor
        self._manifests: dict[str, StageManifest] = {}
        self._raw: Digests = {}

    def folder(self, step: Step) -> str:
        """Where a stage writes."""
        return store.join(self._config.root, step.name)

    def run(self) -> list[StepResult]:
        """Complete all stages in order; what is complete is verified and skipped.

        Raises:
            UserError: bad input, or a stage that leaves nothing.
        """
        return [self._complete(step) for step in STEPS]

    def run_command(self, command: str) -> list[StepResult]:
        """Complete the stages of one command; those before it must be complete with the same settings.

        Raises:
            UserError: as `run`; or a stage before is not complete.
        """
        wanted = [step for step in STEPS if step.command == command]
        before = _ancestors(wanted)
        results = []
        for step in STEPS:
            if step in wanted:
                results.append(self._complete(step))
            elif step.name in before:
                self._manifests[step.name] = self._require(step)
        return results

    def _complete(self, step: Step) -> StepResult:
        start = time.monotonic()
        inputs = {label: self._files(source, part) for label, (source, part) in step.reads.items()}
        for label, (source, _) in step.reads.items():
            if source == RAW:
                self._raw[label] = store.digest([ref.sha256 for ref in inputs[label]])
        stage = step.build(self._config, self.folder(step), inputs, self._upstream(step))
        manifest = run_stage(stage, self._workers, self._say, self._executor)
        self._manifests[step.name] = manifest
        for name, value in manifest.summary.items():
            self._say(f"    WARNING: {value}" if name == "warning" else f"      {name}: {value}")
        if step.funnel and manifest.totals.rows_out == 0:
            raise self._nothing_left(step)
        return StepResult(step, self.folder(step), manifest, time.monotonic() - start)

    def _require(self, step: Step) -> StageManifest:
        fix = f"run `data-prep {step.command}` with the same config first"
        folder = self.folder(step)
        try:
            manifest = StageManifest.load(folder)
        except FileNotFoundError:
            raise UserError(f"the stage {step.name} is not complete", where=folder, fix=fix) from None
        for label, (source, _) in step.reads.items():
            if source == RAW:
                self._raw[label] = manifest.upstream[label]
        stage = step.build(self._config, folder, {}, self._upstream(step))
        if (manifest.settings, manifest.code, manifest.upstream) != (
            resolved(stage.settings),
            stage.code,
            stage.upstream,
        ):
            raise UserError(
                f"the stage {step.name} was made with other settings or from other input", where=folder, fix=fix
            )
        return manifest

    def _files(self, source: str, part: str) -> list[FileRef]:
        if source == RAW:
            return raw_files(f"inputs.{part}", getattr(self._config.inputs, part))
        folder = store.join(self._config.root, source)
        removed = store.join(folder, REMOVED_PREFIX)
        return [ref for ref in self._manifests[source].files(folder, part) if not ref.path.startswith(removed)]

    def _upstream(self, step: Step) -> Digests:
        if step.lineage:
            return {**self._raw, **{name: manifest.digest for name, manifest in self._manifests.items()}}
        return {
            label: self._raw[label] if source == RAW else self._manifests[source].digest
            for label, (source, _) in step.reads.items()
        }

    def _nothing_left(self, last: Step) -> UserError:
        reasons = []
        for step in STEPS:
            manifest = self._manifests.get(step.name)
            if step.funnel and manifest is not None and manifest.totals.dropped:
                top = sorted(manifest.totals.dropped.items(), key=lambda item: (-item[1], item[0]))[:3]
                named = ", ".join(f"{reason} {count:,}" for reason, count in top)
                reasons.append(f"{step.name} {manifest.totals.rows_in:,} -> {manifest.totals.rows_out:,} ({named})")
        what = f"nothing is left after the stage {last.name}"
        return UserError(
            f"{what}: {'; '.join(reasons)}" if reasons else what,
            where=self.folder(last),
            fix="give other input, or loosen the rule that removes most",
        )


def raw_files(where: str, patterns: Sequence[str]) -> list[FileRef]:
    """The files of some patterns, hashed.

    Args:
        where: the config field, for errors.
        patterns: paths, folders or globs, with environment variables.

    Raises:
        UserError: a pattern matches nothing, or a variable is not set.
    """
    paths: dict[str, None] = {}
    for pattern in patterns:
        for variable in _VARIABLE.findall(pattern):
            if variable not in os.environ:
                raise UserError(
                    f"the environment variable {variable} in {pattern!r} is not set",
                    where=where,
                    fix=f"set {variable}, or give {where}=[...] on the command line",
                )
        expanded = os.path.expandvars(pattern)
        found = store.listing(expanded)
        if not found:
            raise UserError(f"no file matches {expanded!r}", where=where, fix="check the path")
        paths.update(dict.fromkeys(found))
    return [FileRef.of(path) for path in paths]


def _ancestors(steps: Sequence[Step]) -> set[str]:
    by_name = {step.name: step for step in STEPS}
    found: set[str] = set()
    waiting = [source for step in steps for source, _ in step.reads.values()]
    while waiting:
        name = waiting.pop()
        if name != RAW and name not in found:
            found.add(name)
            waiting += [source for source, _ in by_name[name].reads.values()]
    return found


def print_funnel(results: Sequence[StepResult]) -> None:
    """Print how many rows each stage read, kept and left out, and how long it took with the steps it needs."""
    last = {result.step.command: result.step.name for result in results}
    table = Table(title="Funnel", title_justify="left")
    for heading in ("stage", "in", "out", "kept", "time"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    table.add_column("left out most")
    waiting = 0.0
    for result in results:
        waiting += result.seconds
        totals = result.manifest.totals
        if result.step.funnel or result.step.name in last.values():
            share = f"{100 * totals.rows_out / totals.rows_in:.1f} %" if result.step.funnel and totals.rows_in else ""
            top = sorted(totals.dropped.items(), key=lambda item: (-item[1], item[0]))[:3]
            why = ", ".join(f"{reason} {count:,}" for reason, count in top)
            table.add_row(result.step.name, f"{totals.rows_in:,}", f"{totals.rows_out:,}", share, clock(waiting), why)
            waiting = 0.0
    Console().print(table)
