"""Small corpora, and stages run inside the test's own process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep import runner
from data_prep.documents import DOCUMENT
from data_prep.manifest import FileRef, StageManifest
from data_prep.shard_stage import EncodeStage, ShardsSettings, ShardsStage, ShardsStageSettings, SplitSettings
from data_prep.shards import SPLITS
from data_prep.stage import RowWriter, Stage, TaskOutput, load_task_manifest


def document(number: int, text: str, score: int | None = 3, created: int | None = 1, url: str = "") -> dict[str, Any]:
    """A row of DOCUMENT; `number` gives id and URL."""
    return {
        "id": f"{number:032x}",
        "url": url or f"https://example.org/{number}",
        "text": text,
        "source": "test",
        "score": score,
        "created_utc": created,
        "language": "en",
        "metadata": "{}",
    }


def write_documents(folder: Path, *files: Sequence[dict[str, Any]]) -> list[FileRef]:
    """Write each sequence of documents to a Parquet file of its own."""
    refs = []
    for i, rows in enumerate(files):
        path = folder / f"part-{i:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as handle:
            writer = RowWriter(handle, DOCUMENT)
            for row in rows:
                writer.add(row)
            writer.close()
        refs.append(FileRef.of(str(path), len(rows)))
    return refs


def complete(stage: Stage, reverse: bool = False) -> StageManifest:
    """Run a stage's tasks here, in the plan's order or backwards."""
    tasks = stage.plan()
    for task in reversed(tasks) if reverse else tasks:
        with TaskOutput(stage, task) as out:
            stage.run_task(task, out)
    parts = [part for task in tasks if (part := load_task_manifest(stage, task)) is not None]
    assert len(parts) == len(tasks)
    return runner._stage_manifest(stage, parts)


def words(rng: random.Random, count: int) -> str:
    """Random words of a vocabulary of 2,000: two draws share no 5-gram."""
    return " ".join(f"w{rng.randrange(2000):x}" for _ in range(count))


def make_dataset(
    folder: Path, inputs: dict[str, list[FileRef]], settings: ShardsSettings, name: str = "small", reverse: bool = False
) -> tuple[StageManifest, StageManifest]:
    """Documents and a tokenizer to folder/shards, through folder/encode; what both stages did."""
    split = SplitSettings(validation_share=settings.validation_share, seed=settings.seed)
    encode = EncodeStage(str(folder / "encode"), split, inputs, {})
    encoded = complete(encode, reverse)
    runs = {part: encoded.files(encode.folder, f"{part}/") for part in SPLITS}
    stage = ShardsStage(
        str(folder / "shards"),
        ShardsStageSettings(name=name, shard_bytes=settings.shard_bytes),
        {**runs, "tokenizer": inputs["tokenizer"]},
        {"links": "digest"},
    )
    return encoded, complete(stage, reverse)
