"""Near dedup as the chain runs it, stage by stage, and the small corpus that its tests share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from small_corpus import complete, document, words

from data_prep.config import DataConfig
from data_prep.dedup.jaccard import jaccard
from data_prep.documents import read_rows
from data_prep.manifest import FileRef, StageManifest
from data_prep.step import RAW
from data_prep.steps import enabled_steps


def run(
    folder: Path,
    refs: Sequence[FileRef],
    against: Sequence[FileRef] = (),
    partitions: int = 3,
    reverse: bool = False,
    **settings: Any,
) -> dict[str, StageManifest]:
    """All stages of the command; the result lies in folder/near-dedup."""
    inputs = {"dumps": ["d"], "archives": ["a"], "against": [ref.path for ref in against]}
    config = DataConfig.model_validate(
        {"name": "x", "root": str(folder), "inputs": inputs, "partitions": partitions, "near_dedup": settings}
    )
    manifests: dict[str, StageManifest] = {}
    for step in enabled_steps(config):
        if step.command != "near-dedup":
            continue
        files: dict[str, list[FileRef]] = {}
        for label, sources in step.reads.items():
            files[label] = []
            for source, part in sources:
                if source == RAW:
                    files[label] += against
                elif source == "exact-dedup":
                    files[label] += refs
                elif source in manifests:
                    found = manifests[source].files(str(folder / source), part)
                    files[label] += [ref for ref in found if "/removed/" not in ref.path]
        stage = step.build(config, str(folder / step.name), files, {})
        assert stage.name == step.name
        manifests[step.name] = complete(stage, reverse=reverse)
    return manifests


def kept(folder: Path) -> list[int]:
    """Numbers of the documents that stay."""
    paths = sorted((folder / "near-dedup").glob("part-*"))
    return [int(row["id"], 16) for path in paths for row in read_rows(str(path))]


def removed(folder: Path) -> list[dict[str, Any]]:
    """The removal log."""
    files = sorted((folder / "near-dedup" / "removed").glob("*"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def edited(rng: random.Random, text: str, share: float) -> str:
    """The text with its last words replaced, so that about (1 - share) / (1 + share) of the shingles are common."""
    old = text.split()
    cut = round(len(old) * share)
    return " ".join(old[: len(old) - cut] + words(rng, cut).split())


def corpus() -> list[dict[str, Any]]:
    """100 originals (ids 0..99), a close copy of each (100..199), a distant one (200..299), 100 others (300..399)."""
    rng = random.Random(11)
    texts = [words(rng, 250) for _ in range(100)]
    close = [edited(rng, text, 0.04) for text in texts]
    distant = [edited(rng, text, 0.55) for text in texts]
    assert all(jaccard(a, b, 5) > 0.88 for a, b in zip(texts, close, strict=True))
    assert all(jaccard(a, b, 5) < 0.35 for a, b in zip(texts, distant, strict=True))
    others = [words(rng, 250) for _ in range(100)]
    return [document(i, text, score=1000 - i) for i, text in enumerate(texts + close + distant + others)]
