"""A dry run: what a corpus will take, estimated from a sample of its own input.

The real stages run over the starts of some dumps and archives, in a temporary folder that is removed; what they count,
write and take is scaled by bytes. Two samples hardly ever meet: a link from the start of a dump is seldom among the
pages at the start of an archive. So the pages are measured with a link to each of them, and the share of them that
really are linked is estimated from how many links of the sampled dumps are found among the sampled pages.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from data_prep import sample_input, store
from data_prep.chain import Chain, raw_paths
from data_prep.config import DataConfig
from data_prep.errors import UserError
from data_prep.links import LinksSettings
from data_prep.manifest import FileRef, StageManifest
from data_prep.runner import PLAN_FILE
from data_prep.sample_input import InputSample
from data_prep.stage import MANIFESTS
from data_prep.step import RAW, Step, ancestors
from data_prep.steps import STEPS
from data_prep.urls import canonical_url, url_id
from data_prep.warc import read_heads

DEFAULT_SAMPLE = 8 << 20
DUMPS, ARCHIVES = "dumps", "archives"
NETWORK = ("common_crawl", "fetch")
"""Sections of the config whose stages ask the network."""
_TASK_NUMBER = re.compile(r"[0-9]{5}(?=[^0-9]*$)")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What a stage did over the sample; `seconds` on one core, `bytes` written."""

    tasks: int
    rows_in: int
    rows_out: int
    bytes: int
    seconds: float
    summary: dict[str, Any]


@dataclass(frozen=True)
class StageEstimate:
    """What a stage will take; None where it could not be measured.

    Attributes:
        stage: its name.
        tasks: how many there will be.
        rows_in: rows read.
        rows_out: rows written.
        bytes: written, removal logs included.
        core_hours: on one core of this machine.
        exact: whether the sample was all of its input.
    """

    stage: str
    tasks: int | None = None
    rows_in: float | None = None
    rows_out: float | None = None
    bytes: float | None = None
    core_hours: float | None = None
    exact: bool = False


@dataclass(frozen=True)
class Plan:
    """The dry run of a corpus.

    Attributes:
        name: the corpus's name.
        root: where it would be written.
        inputs: input -> its sample; what is missing is left out.
        stages: in the order of the chain.
        linked: share of the archives' pages that belong to links, with the bounds of a 95 % interval; None if there is
            nothing to tell it from.
        tokens: in all splits; None if not measured.
        free: bytes free under the root; None if its file system does not tell.
        warnings: what stands in the way, or makes the figures doubtful.
    """

    name: str
    root: str
    inputs: dict[str, InputSample]
    stages: tuple[StageEstimate, ...]
    linked: tuple[float, float, float] | None
    tokens: float | None
    free: int | None
    warnings: tuple[str, ...]

    @property
    def bytes(self) -> float:
        """All that is written."""
        return sum(stage.bytes or 0.0 for stage in self.stages)

    @property
    def core_hours(self) -> float:
        """All that is measured."""
        return sum(stage.core_hours or 0.0 for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            **asdict(self),
            "inputs": {name: {**asdict(item), "paths": len(item.paths)} for name, item in self.inputs.items()},
            "bytes": self.bytes,
            "core_hours": self.core_hours,
        }


def plan(config: DataConfig, sample_bytes: int = DEFAULT_SAMPLE, say: Say = lambda line: None) -> Plan:
    """Measure a sample and scale it.

    Args:
        config: the corpus.
        sample_bytes: of the dumps, and as much of the archives.
        say: told what is being measured.

    Raises:
        UserError: there are no dumps at all, or what is sampled of the input is damaged.
    """
    warnings: list[str] = []
    for section in NETWORK:
        if getattr(config, section) is not None:
            warnings.append(f"`{section}` is not estimated, nor what it will add: a dry run does not use the network")
    if config.inputs.against:
        warnings.append("`inputs.against` is not estimated: other corpora are not read for a dry run")
    inputs_here = config.inputs.model_copy(update={"against": ()})
    config = config.model_copy(update={**dict.fromkeys(NETWORK), "inputs": inputs_here})
    paths = {name: _paths(config, name, warnings) for name in type(config.inputs).model_fields}
    if not paths[DUMPS]:
        why = warnings[-1] if warnings else "there are no dumps"
        raise UserError(why, where="inputs.dumps", fix="a dry run needs a dump to measure")
    with tempfile.TemporaryDirectory(prefix="data-prep-plan-") as folder:
        inputs = _samples(paths, Path(folder), sample_bytes, say)
        posted = _Run(config, inputs, Path(folder) / "posted", say)
        posted.go(None if inputs[DUMPS].whole else "pages")
        runs, linked = {DUMPS: posted, ARCHIVES: posted}, None
        if ARCHIVES in inputs and not inputs[DUMPS].whole:
            linked = _linked(inputs, posted.linked_pages())
            runs[ARCHIVES] = _Run(config, inputs, Path(folder) / "linked", say, link_all=True)
            runs[ARCHIVES].go()
        warnings += runs[ARCHIVES].stopped
        scaled = _Scale(inputs, 1.0 if linked is None else linked[0], runs)
        steps = posted.chain.steps
        counts = _task_counts(config, steps, paths, runs, scaled.factor)
        stages = tuple(scaled(config, step, counts.get(step.name)) for step in steps)
        tokens = scaled.tokens(config)
    warnings += _doubts(inputs, linked)
    free = _free(config.root)
    found = Plan(config.name, config.root, inputs, stages, linked, tokens, free, ())
    if free is not None and found.bytes > free:
        warnings.append(
            f"about {found.bytes / 1e9:,.1f} GB will be written, but {free / 1e9:,.1f} GB are free under the root"
        )
    return replace(found, warnings=tuple(warnings))


class _Run:
    """The stages over a sample.

    Args:
        config: the corpus.
        inputs: the samples.
        folder: a temporary one.
        say: told what is being measured.
        link_all: whether every page of the sampled archives gets a link, instead of the links of the sampled dumps.
    """

    def __init__(
        self, config: DataConfig, inputs: dict[str, InputSample], folder: Path, say: Say, link_all: bool = False
    ) -> None:
        self._inputs = inputs
        self._say = (lambda line: say(f"{line}, each page linked")) if link_all else say
        dumps = inputs[DUMPS].paths
        changes: dict[str, Any] = {
            "root": str(folder / "root"),
            # So that the few documents of a sample fall into both splits.
            "shards": config.shards.model_copy(update={"validation_share": 0.5}),
        }
        if link_all:
            folder.mkdir(parents=True)
            dumps = (str(folder / "links"),)
            _write_links(inputs[ARCHIVES].paths, Path(dumps[0]))
            changes["links"] = LinksSettings(min_karma=0)
        given = {name: item.paths for name, item in inputs.items()}
        changes["inputs"] = config.inputs.model_copy(update={**given, DUMPS: dumps})
        self._config = config.model_copy(update=changes)
        self.chain = Chain(self._config, 1, lambda line: None, "inline")
        self.measured: dict[str, Measured] = {}
        self.stopped: list[str] = []

    def go(self, last: str | None = None) -> None:
        """Run as far as the sample carries, or to the stage `last`."""
        steps = self.chain.steps
        results = self.chain.each()
        for step in steps:
            if not reads(step) <= self._inputs.keys():
                missing = " and no ".join(sorted(reads(step) - self._inputs.keys()))
                self.stopped.append(f"not estimated from the stage {step.name} on: no {missing}")
                return
            self._say(f"measuring {step.name}")
            try:
                result = next(results)
            except UserError as error:
                why = f"of the sample, {error.what}; a larger --sample may help"
                self.stopped.append(f"not estimated from the stage {step.name} on: {why}")
                return
            manifest = result.manifest
            size = sum(ref.bytes for ref in manifest.outputs)
            tasks = len(store.read_json(store.join(result.folder, PLAN_FILE))["tasks"])
            counts = (manifest.totals.rows_in, manifest.totals.rows_out)
            self.measured[step.name] = Measured(tasks, *counts, size, result.seconds, dict(manifest.summary))
            if step.name == last:
                return

    def linked_pages(self) -> tuple[int, int]:
        """Pages of the sampled archives, and those of them that belong to links."""
        try:
            totals = StageManifest.load(store.join(self._config.root, "pages")).totals
        except FileNotFoundError:
            return 0, 0
        unlinked = totals.dropped.get("not-linked", 0) + totals.dropped.get("bad-url", 0)
        return totals.rows_in, totals.rows_in - unlinked

    def outputs(self, step: Step) -> list[str]:
        """Names of the files that the first task of a stage wrote."""
        path = store.join(self._config.root, step.name, MANIFESTS, "00000.json")
        return [ref["path"] for ref in store.read_json(path)["outputs"]] if store.exists(path) else []


class _Scale:
    """Scales what was measured to all of the input.

    Args:
        inputs: the samples.
        linked: share of the pages that belong to links.
        runs: input -> the run that measured what depends on it.
    """

    def __init__(self, inputs: dict[str, InputSample], linked: float, runs: dict[str, _Run]) -> None:
        self._inputs, self._linked, self._runs = inputs, linked, runs

    def __call__(self, config: DataConfig, step: Step, tasks: int | None) -> StageEstimate:
        """The estimate of one stage that will have so many tasks."""
        run = self._runs[_branch(step)]
        found = run.measured.get(step.name)
        if found is None or tasks is None:
            return StageEstimate(step.name, tasks)
        # Each task costs something before it reads a row, at most what the tasks of the cheapest stage took.
        start = min(item.seconds / item.tasks for item in run.measured.values() if item.tasks)
        work = max(0.0, found.seconds - start * found.tasks)
        files, rows = self._files(step), self.factor(step)
        rows_in, size = rows * found.rows_in, rows * found.bytes
        if step.name == "pages":
            # Pages that are not linked are read as well, which takes as long as it takes the stage that only reads.
            rows_in = files * found.rows_in
            reading = min(work, run.measured["addresses"].seconds)
            work *= files * self._linked
            work += files * (1 - self._linked) * reading
        elif step.name == "tokenizer":
            text = run.measured["pages"].bytes or 1
            work *= min(rows, max(1.0, config.tokenizer.sample_bytes / text))
            size = found.bytes
        else:
            work *= rows
        exact = rows == 1.0 and all(self._inputs[name].whole for name in reads(step))
        hours = (start * tasks + work) / 3600
        return StageEstimate(step.name, tasks, rows_in, rows * found.rows_out, size, hours, exact)

    def tokens(self, config: DataConfig) -> float | None:
        """Tokens in all splits."""
        shards = next((step for step in STEPS if step.name == "shards"), None)
        found = None if shards is None else self._runs[ARCHIVES].measured.get("shards")
        if found is None or shards is None:
            return None
        tokens = sum(value for name, value in found.summary.items() if name.endswith("_tokens"))
        return float(tokens) * self._files(shards) * self._linked

    def factor(self, step: Step) -> float:
        """How much more a stage reads of the whole input than of the sample."""
        return self._files(step) * (self._linked if self._after_pages(step) else 1.0)

    def _files(self, step: Step) -> float:
        if ARCHIVES in reads(step):
            return self._inputs[ARCHIVES].factor
        return self._inputs[DUMPS].factor if DUMPS in reads(step) else 1.0

    def _after_pages(self, step: Step) -> bool:
        return step.name == "pages" or "pages" in ancestors([step], STEPS)


def reads(step: Step) -> set[str]:
    """Which of the config's inputs a stage depends on, directly or through others; optional ones are left out."""
    names = {step.name, *ancestors([step], STEPS)}
    found = {
        part
        for other in STEPS
        if other.name in names
        for sources in other.reads.values()
        for source, part in sources
        if source == RAW
    }
    return found & {DUMPS, ARCHIVES}


def _branch(step: Step) -> str:
    """Which run measures a stage."""
    return DUMPS if reads(step) == {DUMPS} else ARCHIVES


def _paths(config: DataConfig, name: str, warnings: list[str]) -> list[str]:
    """Files of one input; of patterns that match nothing there is a warning."""
    found: dict[str, None] = {}
    for pattern in getattr(config.inputs, name) or ():
        try:
            found.update(dict.fromkeys(raw_paths(f"inputs.{name}", [pattern])))
        except UserError as error:
            warnings.append(str(error))
    return list(found)


def _samples(paths: dict[str, list[str]], folder: Path, sample_bytes: int, say: Say) -> dict[str, InputSample]:
    cuts = {DUMPS: sample_input.cut_dump, ARCHIVES: sample_input.cut_archive}
    found = {}
    for name, files in paths.items():
        if not files:
            continue
        cut = cuts.get(name)
        if cut is None:  # a reference, which is small and does not grow with the corpus
            total = sum(store.size(path) for path in files)
            found[name] = InputSample(tuple(files), len(files), total, total)
            continue
        say(f"sampling {name}")
        found[name] = sample_input.sample(files, folder / name, sample_bytes, cut)
    return found


def _write_links(archives: Iterable[str], target: Path) -> None:
    """A dump with one submission for each page."""
    with target.open("wb") as out:
        for path in archives:
            for page in read_heads(path):
                url = canonical_url(page.url)
                if url is not None:
                    row = {"id": url_id(url), "url": page.url, "score": 1, "created_utc": 0, "subreddit": "x"}
                    out.write(orjson.dumps({**row, "is_self": False}) + b"\n")


def _linked(inputs: dict[str, InputSample], found: tuple[int, int]) -> tuple[float, float, float] | None:
    """Share of pages that belong to links, and its 95 % interval.

    Of n sampled pages m belong to the links of a fraction f of the dumps. Each link falls into that fraction with
    probability f, so that m is about Poisson with mean share * n * f; the interval is the score interval of m. It is
    too high where the archives hold their pages in the order of the dumps, so that both samples are of the same time.
    """
    n, m = found
    if not n:
        return None
    scale = inputs[DUMPS].factor / n
    middle, width = m + 1.92, 1.96 * math.sqrt(m + 0.96)
    share, low, high = m * scale, max(0.0, middle - width) * scale, (middle + width) * scale
    return min(1.0, share), min(1.0, low), min(1.0, high)


def _doubts(inputs: dict[str, InputSample], linked: tuple[float, float, float] | None) -> list[str]:
    found = []
    if linked is not None and linked[2] > 1.5 * max(linked[0], 1e-9):
        share, low, high = (f"{100 * value:.3g} %" for value in linked)
        found.append(
            f"the share of pages that belong to links is uncertain: {share} ({low} to {high}); give a larger --sample"
        )
    if not all(item.whole for item in inputs.values()):
        found.append(
            "duplicates grow faster than the corpus: there will be fewer links and documents than the table says"
        )
    return found


def _task_counts(
    config: DataConfig,
    steps: Sequence[Step],
    paths: dict[str, list[str]],
    runs: dict[str, _Run],
    factor: Callable[[Step], float],
) -> dict[str, int]:
    """Stage -> tasks of its real plan, over the real input and the files that the stages before will write."""
    raw = {name: [FileRef(p, store.digest(p), store.size(p)) for p in files] for name, files in paths.items()}
    names: dict[str, list[FileRef]] = {}
    found: dict[str, int] = {}
    for step in steps:
        run = runs[_branch(step)]
        if step.name not in run.measured:
            continue
        inputs = {
            label: [
                ref
                for source, part in sources
                for ref in (raw[part] if source == RAW else _starting(names.get(source, []), part))
            ]
            for label, sources in step.reads.items()
        }
        tasks = step.build(config, store.join(config.root, step.name), inputs, {}).plan()
        found[step.name] = len(tasks)
        written = {
            _TASK_NUMBER.sub(f"{task.index:05d}", name, count=1): None for task in tasks for name in run.outputs(step)
        }
        size = round(run.measured[step.name].bytes * factor(step) / max(len(written), 1))
        names[step.name] = [FileRef(name, store.digest(name), size) for name in written]
    return found


def _starting(refs: Iterable[FileRef], prefix: str) -> list[FileRef]:
    return [ref for ref in refs if ref.path.startswith(prefix) and not ref.path.startswith("removed/")]


def _free(root: str) -> int | None:
    """Bytes free where the root is or will be."""
    if not store.is_local(root):
        return None
    folder = store.local(root).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
