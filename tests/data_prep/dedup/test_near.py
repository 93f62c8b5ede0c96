from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_corpus import complete, document, words, write_documents

from data_prep.dedup import exact, near
from data_prep.dedup.minhash import jaccard
from data_prep.documents import read_rows
from data_prep.manifest import FileRef, StageManifest


def run(folder: Path, refs: list[FileRef], partitions: int = 3, reverse: bool = False) -> dict[str, StageManifest]:
    """The four stages; the result lies in folder/near-dedup."""
    manifests: dict[str, StageManifest] = {}

    def outputs(name: str, prefix: str) -> list[FileRef]:
        return manifests[name].files(str(folder / name), prefix)

    signatures = near.SignatureSettings(partitions=partitions)
    parts, none = exact.PartitionSettings(partitions=partitions), exact.NoSettings()
    for kind, settings, inputs in (
        (near.NearSignaturesStage, signatures, lambda: {"documents": refs}),
        (near.NearEdgesStage, parts, lambda: {"bands": outputs("near-signatures", "bands/")}),
        (
            near.NearClustersStage,
            none,
            lambda: {"edges": outputs("near-edges", "part-"), "members": outputs("near-signatures", "members/")},
        ),
        (
            near.NearDedupStage,
            none,
            lambda: {"documents": refs, near.NEAR_DUPLICATE: outputs("near-clusters", "part-")},
        ),
    ):
        stage = kind(str(folder / kind.name), settings, inputs(), {})
        manifests[stage.name] = complete(stage, reverse=reverse)
    return manifests


def kept(folder: Path) -> list[int]:
    paths = sorted((folder / "near-dedup").glob("part-*"))
    return [int(row["id"], 16) for path in paths for row in read_rows(str(path))]


def edited(rng: random.Random, text: str, share: float) -> str:
    """The text with its last words replaced, so that about (1 - share) / (1 + share) of the shingles are common."""
    old = text.split()
    cut = round(len(old) * share)
    return " ".join(old[: len(old) - cut] + words(rng, cut).split())


@pytest.fixture(scope="module")
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


def test_close_copies_go_and_nothing_else(tmp_path: Path, corpus: list[dict[str, Any]]) -> None:
    """At Jaccard > 0.88 a pair is found with p > 0.996, at < 0.35 with p < 0.004."""
    manifests = run(tmp_path, write_documents(tmp_path / "in", corpus[:150], corpus[150:]))
    left = set(kept(tmp_path))
    recall = sum(i not in left for i in range(100, 200)) / 100
    wrong = [i for i in range(400) if i not in left and not 100 <= i < 200]
    assert recall >= 0.97
    assert len(wrong) <= 2
    assert manifests["near-dedup"].totals.dropped == {"near-duplicate": 400 - len(left)}


def test_the_log_names_the_twin_that_stays(tmp_path: Path, corpus: list[dict[str, Any]]) -> None:
    run(tmp_path, write_documents(tmp_path / "in", corpus[:200]))
    rows = pq.read_table(tmp_path / "near-dedup/removed/00000.parquet").to_pylist()
    left = set(kept(tmp_path))
    assert rows
    for row in rows:
        number = int(row["id"], 16)
        assert row["reason"] == "near-duplicate"
        assert row["detail"] == f"kept {number - 100:032x} https://example.org/{number - 100}"
        assert number - 100 in left


def test_what_stays_depends_neither_on_files_nor_partitions_nor_task_order(
    tmp_path: Path, corpus: list[dict[str, Any]]
) -> None:
    rows = corpus[:40] + corpus[100:140]
    run(tmp_path / "a", write_documents(tmp_path / "in1", rows), partitions=1)
    run(tmp_path / "b", write_documents(tmp_path / "in2", rows[60:], rows[:60]), partitions=4, reverse=True)
    assert sorted(kept(tmp_path / "a")) == sorted(kept(tmp_path / "b"))
    assert len(kept(tmp_path / "a")) < 45


def test_documents_without_words_and_short_ones(tmp_path: Path) -> None:
    texts = ["?!", "...", "", "one two", "One, two!", "one three"]
    run(tmp_path, write_documents(tmp_path / "in", [document(i, text) for i, text in enumerate(texts)]))
    assert kept(tmp_path) == [0, 1, 2, 3, 5]


def test_nothing_in_gives_nothing_out(tmp_path: Path) -> None:
    assert run(tmp_path, write_documents(tmp_path / "in", []))["near-dedup"].totals.rows_out == 0
