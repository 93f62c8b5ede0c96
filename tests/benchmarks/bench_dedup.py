"""Near dedup end to end, from Parquet to Parquet, against datatrove's four stages and Daft.

Documents are runs of words of real texts in which every fourth word is another one, so that no two are alike by chance;
a tenth are copies of another with words replaced and the end cut, from nearly equal to half alike, whose exact Jaccard
similarity is measured. Each run has a process of its own on one core; what counts is its processor time.

    BENCH_DEDUP_DOCUMENTS=50000,200000,500000   sizes, of which the first is also given to Daft
    BENCH_DEDUP_PEERS=python                    an interpreter that has daft, and datatrove with spacy
    BENCH_DEDUP_DATATROVE=5000                  documents for datatrove
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from measure import Row

from data_prep.dedup.jaccard import jaccard
from data_prep.documents import DOCUMENT

SIZES = [int(size) for size in os.environ.get("BENCH_DEDUP_DOCUMENTS", "20000").split(",")]
PEERS = os.environ.get("BENCH_DEDUP_PEERS", sys.executable)
DATATROVE = int(os.environ.get("BENCH_DEDUP_DATATROVE", "2000"))
REPEATS = int(os.environ.get("BENCH_DEDUP_REPEATS", "3"))
_FILE = 12_500
_REPLACED, _COPIES = 0.25, 0.1


OURS = {"ours": "14 x 8", "verified": "14 x 8 verified", "gpt3": "10 x 1 verified", "stars": "14 x 8 by stars"}


@dataclass(frozen=True)
class Corpus:
    """Documents made for the benchmark: where they are, and (original, copy, exact similarity) of the copies."""

    folder: Path
    documents: int
    megabytes: float
    copies: list[tuple[int, int, float]]


def vocabulary(root: Path) -> np.ndarray:
    """The words of real English texts, in their order."""
    words: list[str] = []
    with zstandard.open(root / "text_en" / "text_en.jsonl.zst", "rt", encoding="utf-8") as lines:
        for line in lines:
            words += json.loads(line)["text"].split()
    return np.array(words, object)


def make(root: Path, folder: Path, count: int) -> Corpus:
    """Write the documents of one size."""
    folder.mkdir()
    rng = np.random.default_rng(count)
    words = vocabulary(root)
    made: list[tuple[int, np.ndarray]] = []
    copies, rows, size = [], list[dict[str, Any]](), 0
    for number in range(count):
        if made and rng.random() < _COPIES:
            original, old = made[rng.integers(len(made))]
            text = _edited(rng, words, old, rng.uniform(0, 0.12), rng.uniform(0, 0.2))
            copies.append((original, number, jaccard(" ".join(old), " ".join(text), 5)))
        else:
            length = int(np.clip(rng.lognormal(6.2, 0.6), 50, 5000))
            start = rng.integers(len(words) - length)
            text = _edited(rng, words, words[start : start + length], _REPLACED, 0)
            made = [*made[-2000:], (number, text)] if number % 3 == 0 else made
        row = {"id": f"{number:032x}", "url": f"https://e.org/{number}", "text": " ".join(text), "source": "bench"}
        rows.append({**row, "score": count - number, "created_utc": 0, "language": "en", "metadata": "{}"})
        size += len(row["text"].encode())
        if len(rows) == _FILE or number == count - 1:
            table = pa.Table.from_pylist(rows, schema=DOCUMENT)
            pq.write_table(table, folder / f"{number // _FILE:05d}.parquet", compression="zstd", row_group_size=1024)
            rows = []
    return Corpus(folder, count, size / 1e6, copies)


def _edited(rng: np.random.Generator, words: np.ndarray, old: np.ndarray, replaced: float, cut: float) -> np.ndarray:
    text = old[: len(old) - int(cut * len(old))].copy()
    at = np.flatnonzero(rng.random(len(text)) < replaced)
    text[at] = words[rng.integers(len(words), size=len(at))]
    return text


def run(who: str, corpus: Corpus, target: Path) -> tuple[dict[str, float], set[int]]:
    """One run: its result, and the numbers of the documents that stay."""
    python = sys.executable if who in OURS else PEERS
    script = Path(__file__).with_name("dedup_runs.py")
    command = [python, str(script), who, str(corpus.folder), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=target.parent)
    if done.returncode:
        if "No module named" in done.stderr or "ImportError" in done.stderr:
            pytest.skip(f"{who} is not installed for {python}")
        raise AssertionError(done.stderr[-3000:])
    if os.environ.get("BENCH_DEDUP_VERBOSE"):
        print(who, done.stderr[-600:])
    stay = {
        int(id, 16) for path in _kept(target) for id in pq.read_table(path, columns=["id"]).column("id").to_pylist()
    }
    return json.loads((target / "result.json").read_text()), stay


def _kept(target: Path) -> Iterator[Path]:
    return itertools.chain((target / "near-dedup").glob("part-*.parquet"), (target / "kept").rglob("*.parquet"))


def quality(corpus: Corpus, stay: set[int]) -> str:
    """Recall of the copies by similarity, and share of the removed that are copies at 0.5 or more."""
    recall = []
    for low, high in ((0.85, 0.95), (0.75, 0.85), (0.65, 0.75)):
        found = [a not in stay or b not in stay for a, b, s in corpus.copies if low <= s < high]
        recall.append(f"{np.mean(found):.3f}" if found else "-")
    linked = {n for a, b, s in corpus.copies if s >= 0.5 for n in (a, b)}
    gone = set(range(corpus.documents)) - stay
    precision = len(gone & linked) / len(gone) if gone else 1.0
    return f"recall at .9/.8/.7: {'/'.join(recall)}, precision at .5: {precision:.3f}"


@pytest.fixture(scope="module")
def root() -> Path:
    found = os.environ.get("WEBTEXT_DATA_ROOT")
    if not found or not Path(found, "text_en").is_dir():
        pytest.skip("WEBTEXT_DATA_ROOT is not set")
    return Path(found)


def compare(
    corpus: Corpus, folder: Path, *names: str, repeats: int = REPEATS
) -> dict[str, tuple[dict[str, float], set[int]]]:
    """Median processor seconds of each, taking turns."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    stay: dict[str, set[int]] = {}
    for turn in range(repeats):
        for name in names:
            result, stay[name] = run(name, corpus, folder / f"{name}-{corpus.documents}-{turn}")
            results[name].append(result)
    return {
        name: ({key: statistics.median(item[key] for item in found) for key in found[0]}, stay[name])
        for name, found in results.items()
    }


def speed(corpus: Corpus, result: dict[str, float]) -> str:
    per_second, megabytes = corpus.documents / result["seconds"], corpus.megabytes / result["seconds"]
    return f"{per_second:,.0f} documents/s, {megabytes:,.1f} MB/s, peak {result['mib']:,.0f} MiB"


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
def test_growth(root: Path, tmp_path: Path, table: list[Row]) -> None:
    for size in SIZES:
        corpus = make(root, tmp_path / f"in-{size}", size)
        first = size == SIZES[0]
        found = compare(corpus, tmp_path, *(OURS if first else ["ours"]), repeats=REPEATS if first else 1)
        for name, (result, stay) in found.items():
            notes = f"{corpus.megabytes:,.0f} MB; {quality(corpus, stay)}"
            table.append(Row(f"near dedup of {size:,}, {OURS[name]}", speed(corpus, result), "", "", notes))


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("peer", ["daft", "datatrove"])
def test_peer(root: Path, tmp_path: Path, table: list[Row], peer: str) -> None:
    corpus = make(root, tmp_path / "in", DATATROVE if peer == "datatrove" else SIZES[0])
    found = compare(corpus, tmp_path, "ours", peer, repeats=1 if peer == "datatrove" else REPEATS)
    (mine, my_stay), (theirs, their_stay) = found["ours"], found[peer]
    table.append(
        Row(
            f"near dedup of {corpus.documents:,}, 14 x 8",
            speed(corpus, mine),
            f"{peer} {speed(corpus, theirs)}",
            f"{theirs['seconds'] / mine['seconds']:.1f}x as fast",
            f"{quality(corpus, my_stay)}; {peer}: {quality(corpus, their_stay)}",
        )
    )
