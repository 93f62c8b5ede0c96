"""Peak memory of a worker in every stage, for a corpus and for one of four times its size.

In each stage the task with the most input runs in a process of its own. The number of partitions is the same for both
sizes, so that what grows with the size of a partition is seen to grow; in use it is raised with the corpus.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import small_web
from front_chain import write_warc
from measure import Row, peak_mib
from small_corpus import document, words, write_documents

from data_prep import chain, configfile, runner
from data_prep.config import DataConfig
from data_prep.manifest import StageManifest, Totals
from data_prep.stage import Stage, Task, TaskOutput, load_task_manifest

FACTOR = 4
LINKS, PAGES, DOCUMENTS = 60_000, 600, 15_000
"""Of the smaller corpus: links in the dump, pages in the archives; documents for the stages behind the filter."""
SETTINGS = [
    "partitions=2",
    "pages.extractor=resiliparse",
    "pages.task_bytes=1MiB",
    "filter.language=null",
    "links.min_karma=1",
    "tokenizer.sample_bytes=4M",
]


def links(count: int) -> Iterator[str]:
    """URLs; those of the pages come first."""
    return (f"https://site{i % 1000}.org/{i % 7}/page-{i}" for i in range(count))


def make_input(folder: Path, factor: int) -> list[str]:
    """A dump and archives; returns the overrides that name them."""
    folder.mkdir(parents=True)
    with (folder / "RS_2014-05").open("wb") as dump:
        for i, url in enumerate(links(LINKS * factor)):
            post = {"id": f"{i:x}", "url": url, "score": 9, "created_utc": 1_400_000_000 + i, "subreddit": "s"}
            dump.write(orjson.dumps({**post, "is_self": False, "domain": url.split("/")[2], "title": url * 3}) + b"\n")
    draw = random.Random(0)
    for part in range(factor):
        pages = []
        for _, url in zip(range(PAGES), list(links(PAGES * factor))[part::factor], strict=False):
            text = "".join(f"<p>{' '.join(draw.choices(small_web.WORDS, k=150))}.</p>" for _ in range(8))
            pages.append((url, f"<html><body><article>{text}</article></body></html>".encode()))
        write_warc(folder / f"pages-{part}.warc.gz", pages)
    return [f"inputs.dumps=[{folder}/RS_*]", f"inputs.archives=[{folder}/pages-*.warc.gz]"]


def make_documents(folder: Path, factor: int) -> StageManifest:
    """What the filter would have left: files of `DOCUMENTS` documents, one in eight a copy of another."""
    draw = random.Random(1)
    files, number = [], 0
    for _ in range(factor):
        rows: list[dict[str, Any]] = []
        for _ in range(DOCUMENTS):
            number += 1
            text = rows[-3]["text"] + " again" if number % 8 == 0 else words(draw, 60)
            rows.append(document(number, text, url=f"https://site{number % 5}.org/{number}"))
        files.append(rows)
    refs = write_documents(folder / "filter", *files)
    outputs = tuple(type(ref)(Path(ref.path).name, ref.sha256, ref.bytes, ref.rows) for ref in refs)
    return StageManifest("filter", "made", {}, {}, Totals(number, number), outputs)


def run_task(stage: Stage, task: Task) -> None:
    with TaskOutput(stage, task) as out:
        stage.run_task(task, out)


def nothing() -> None:
    """What a worker has imported before it does anything."""


class Peaks:
    """In place of the runner's worker processes; stage -> peak MiB of its largest task, and the rows that it read."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[float, int]] = {}

    def run(self, stage: Stage, tasks: list[Task], todo: list[int], *rest: Any) -> None:
        largest = max(todo, key=lambda i: sum(ref.bytes for refs in tasks[i].inputs.values() for ref in refs))
        for index in todo:
            if index != largest:
                run_task(stage, tasks[index])
        peak = peak_mib(run_task, stage, tasks[largest])
        done = load_task_manifest(stage, tasks[largest])
        assert done is not None
        self.found[stage.name] = (peak, done.totals.rows_in)


def measured(folder: Path, factor: int) -> dict[str, tuple[float, int]]:
    """Both halves of the chain: see `Peaks`."""
    peaks = Peaks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_run_tasks", peaks.run)
        config = folder / "small.yaml"
        folder.mkdir(parents=True)
        config.write_text(small_web.CONFIG)
        for half, given in (("front", make_input(folder / "input", factor)), ("back", [])):
            settings = configfile.load(str(config), DataConfig, [f"root={folder}/{half}", *SETTINGS, *given])
            run = chain.Chain(settings, 1, lambda line: None)
            behind = [step.name for step in run.steps].index("filter")
            run.steps = run.steps[: behind + 1] if half == "front" else run.steps[behind + 1 :]
            if half == "back":
                run._manifests["filter"] = make_documents(folder / half, factor)
            run.run()
    return peaks.found


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_memory(tmp_path: Path, table: list[Row]) -> None:
    small, large = (measured(tmp_path / str(factor), factor) for factor in (1, FACTOR))
    idle = peak_mib(nothing)
    for name, (peak, rows) in small.items():
        more, many = large[name]
        # Where the largest task does not grow with the corpus, neither does its memory.
        grows = f"; {(more - peak) * 2**20 / (many - rows):,.0f} bytes a row of the task" if many > 2 * rows else ""
        table.append(
            Row(
                f"memory of a worker: {name}",
                f"{peak:.0f} MiB, corpus x {FACTOR}: {more:.0f} MiB",
                f"{idle:.0f} MiB before it does anything",
                f"{more / peak:.2f}x",
                f"rows of the largest task {rows:,}, {many:,}{grows}",
            )
        )
