"""Runs the stages of a corpus in order, each from what the ones before it made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from data_prep import lock, store
from data_prep.config import DataConfig
from data_prep.configfile import resolved
from data_prep.errors import UserError
from data_prep.manifest import FileRef, StageManifest
from data_prep.progress import clock
from data_prep.raw_input import raw_files as raw_files
from data_prep.raw_input import raw_paths as raw_paths
from data_prep.runner import ExecutorName, Say, run_stage, say
from data_prep.stage import REMOVED_PREFIX, Stage
from data_prep.step import RAW, Digests, Files, Step, ancestors
from data_prep.steps import enabled_steps


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
        workers: tasks at a time; 0, for Slurm alone: as many as it likes.
        say: prints a line.
        executor: what runs them.
    """

    def __init__(self, config: DataConfig, workers: int, say: Say = say, executor: ExecutorName = "local") -> None:
        self._config, self._workers, self._say = config, workers, say
        self._executor: ExecutorName = executor
        self._manifests: dict[str, StageManifest] = {}
        self._raw: Digests = {}
        self.steps = enabled_steps(config)
        self._enabled = {RAW, *(step.name for step in self.steps)}

    def folder(self, step: Step) -> str:
        """Where a stage writes."""
        return store.join(self._config.root, step.name)

    def run(self) -> list[StepResult]:
        """Complete all stages in order; what is complete is verified and skipped.

        Raises:
            UserError: bad input, a stage that leaves nothing, or another run works in the same root.
        """
        with lock.held(self._config.root):
            return list(self.each())

    def each(self) -> Iterator[StepResult]:
        """As `run`, one stage at a time."""
        for step in self.steps:
            yield self._complete(step)

    def run_command(self, command: str) -> list[StepResult]:
        """Complete the stages of one command; those before it must be complete with the same settings.

        Raises:
            UserError: as `run`; or a stage before is not complete.
        """
        wanted = [step for step in self.steps if step.command == command]
        if not wanted:
            raise UserError(
                "this corpus has no such stage",
                where=f"data-prep {command}",
                fix=f"give the config a `{command}:` section",
            )
        before = ancestors(wanted, self.steps)
        results = []
        with lock.held(self._config.root):
            for step in self.steps:
                if step in wanted:
                    results.append(self._complete(step))
                elif step.name in before:
                    self._manifests[step.name] = self._require(step)
        return results

    def require_before(self, step: Step) -> None:
        """Make sure that all stages before one are complete, with the present settings.

        Raises:
            UserError: one is not.
        """
        before = ancestors([step], self.steps)
        for other in self.steps:
            if other.name in before:
                self._manifests[other.name] = self._require(other)

    def stage(self, step: Step) -> Stage:
        """A stage over what those before it made; raw input is hashed."""
        inputs: Files = {}
        for label, sources in step.reads.items():
            inputs[label] = []
            for source, part in sources:
                found = self._files(source, part)
                if source == RAW:
                    self._raw[part] = store.digest([ref.sha256 for ref in found])
                inputs[label] += found
        return step.build(self._config, self.folder(step), inputs, self._upstream(step))

    def planned_stage(self, step: Step, upstream: Mapping[str, str]) -> Stage:
        """A stage whose raw input is as a stored plan has it; nothing is hashed, and it has no inputs of its own.

        Args:
            step: the stage; those before it are known to be complete.
            upstream: label -> digest, from the plan.
        """
        parts = [part for sources in step.reads.values() for source, part in sources if source == RAW]
        self._raw |= {part: upstream[part] for part in parts if part in upstream}
        return step.build(self._config, self.folder(step), {}, self._upstream(step))

    def _complete(self, step: Step) -> StepResult:
        start = time.monotonic()
        stage = self.stage(step)
        manifest = run_stage(stage, self._workers, self._say, self._executor, self._config.slurm)
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
        for sources in step.reads.values():
            for source, part in sources:
                if source == RAW:
                    self._raw[part] = manifest.upstream[part]
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
        if source not in self._enabled:
            return []
        folder = store.join(self._config.root, source)
        removed = store.join(folder, REMOVED_PREFIX)
        return [ref for ref in self._manifests[source].files(folder, part) if not ref.path.startswith(removed)]

    def _upstream(self, step: Step) -> Digests:
        if step.lineage:
            return {**self._raw, **{name: manifest.digest for name, manifest in self._manifests.items()}}
        found: Digests = {}
        for label, sources in step.reads.items():
            for source, part in sources:
                if source == RAW:
                    found[part] = self._raw[part]
                elif source in self._enabled:
                    found[label if len(sources) == 1 else source] = self._manifests[source].digest
        return found

    def _nothing_left(self, last: Step) -> UserError:
        reasons = []
        for step in self.steps:
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
