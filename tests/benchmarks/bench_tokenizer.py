"""Encoding and training against Hugging Face `tokenizers`, on real text (WEBTEXT_DATA_ROOT).

Each measurement runs in a process of its own on one core, so that caches start cold and threads add nothing; the first
pass over the text is the cold one, the second the warm one. Peer and ours take turns.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import zstandard
from measure import Row

MEGABYTES = int(os.environ.get("BENCH_TOKENIZER_MB", "100"))
TRAIN_MEGABYTES = int(os.environ.get("BENCH_TOKENIZER_TRAIN_MB", "60"))
REPEATS = int(os.environ.get("BENCH_TOKENIZER_REPEATS", "3"))
VOCABULARY = 50_257
_CHUNK = 128
"""Texts at a time, as in the stage `shards`."""


def documents(root: Path) -> Iterator[str]:
    for name in ("text_en", "text_multi"):
        with zstandard.open(root / name / f"{name}.jsonl.zst", "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def sample(root: Path, size: int) -> tuple[list[str], int]:
    """Documents of about `size` bytes, and how often the corpus was repeated for that."""
    texts: list[str] = []
    total, rounds = 0, 0
    while total < size:
        rounds += 1
        for text in documents(root):
            if total >= size:
                break
            # Another first character in each round, so that no whole text comes twice.
            texts.append(text if rounds == 1 else f"{rounds} {text}")
            total += len(text.encode())
    return texts, rounds


def _encode(which: str, root: Path) -> tuple[list[float], str]:
    """Seconds of the passes over the text, and a digest of all ids."""
    import numpy as np

    from data_prep.tokenizer import Tokenizer, published
    from data_prep.tokenizer.fast import slow_encoder

    tokenizer = Tokenizer(published.read(str(root / "gpt2_vocab")))
    encode = tokenizer.encode_packed if which == "ours" else slow_encoder(tokenizer._library)
    encode(["loaded"])
    texts, _ = sample(root, MEGABYTES * 10**6)
    seconds = []
    for _ in range(2 if which == "ours" else 1):  # the peer's cache is too small to tell the passes apart
        digest, start = hashlib.sha256(), time.perf_counter()
        for i in range(0, len(texts), _CHUNK):
            ids, offsets = encode(texts[i : i + _CHUNK])
            digest.update(np.ascontiguousarray(ids))
            digest.update(np.ascontiguousarray(offsets))
        seconds.append(time.perf_counter() - start)
    return seconds, digest.hexdigest()


def _train(which: str, root: Path) -> tuple[list[float], str]:
    """Seconds of learning from the text, and a digest of the tokenizer."""
    from data_prep.tokenizer import training

    if which == "peer":
        training._train_fast = lambda *_: None  # type: ignore[assignment]
    texts, _ = sample(root, TRAIN_MEGABYTES * 10**6)
    start = time.perf_counter()
    data = training.train(iter(texts), VOCABULARY)
    return [time.perf_counter() - start], hashlib.sha256(data).hexdigest()


def _child(pipe: Connection, function: Callable[..., Any], which: str, root: Path, cores: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ["RAYON_NUM_THREADS"] = str(cores)
    found = function(which, root)
    # Not ru_maxrss: a process that was forked and then executed starts with the peak of its parent.
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:"]
    pipe.send((*found, int(peak) / 1024))


def alone(function: Callable[..., Any], which: str, root: Path, cores: int) -> tuple[list[float], str, float]:
    """What a function returns in a fresh process bound to some cores, and its peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, function, which, root, cores))
    process.start()
    theirs.close()
    found: tuple[list[float], str, float] = mine.recv()
    process.join()
    return found


@pytest.fixture(scope="module")
def root() -> Path:
    found = os.environ.get("WEBTEXT_DATA_ROOT")
    if not found:
        pytest.skip("WEBTEXT_DATA_ROOT is not set")
    return Path(found)


def paired(function: Callable[..., Any], root: Path, cores: int) -> dict[str, list[tuple[list[float], str, float]]]:
    runs: dict[str, list[tuple[list[float], str, float]]] = {"ours": [], "peer": []}
    for _ in range(REPEATS):
        for which, found in runs.items():
            found.append(alone(function, which, root, cores))
    return runs


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_encode(root: Path, table: list[Row]) -> None:
    texts, rounds = sample(root, MEGABYTES * 10**6)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    runs = paired(_encode, root, cores=1)
    (digest,) = {digest for found in runs.values() for _, digest, _ in found}  # every id of every run is the same
    assert digest
    cold, warm = (megabytes / statistics.median(run[0][i] for run in runs["ours"]) for i in range(2))
    peer = megabytes / statistics.median(run[0][0] for run in runs["peer"])
    memory = {which: max(run[2] for run in found) for which, found in runs.items()}
    for name, speed in (("cold", cold), ("warm", warm)):
        table.append(
            Row(
                f"BPE encode, {name}, one core",
                f"{speed:.1f} MB/s, {memory['ours']:.0f} MiB",
                f"tokenizers encode_batch_fast {peer:.1f} MB/s, {memory['peer']:.0f} MiB",
                f"{speed / peer:.1f}x as fast",
                f"GPT-2's vocabulary, {megabytes:.0f} MB of text_en and text_multi in {rounds} rounds, "
                f"{len(texts):,} documents; all ids the same; memory includes the text",
            )
        )


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_training(root: Path, table: list[Row]) -> None:
    texts, rounds = sample(root, TRAIN_MEGABYTES * 10**6)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    cores = len(os.sched_getaffinity(0))
    runs = paired(_train, root, cores)
    (digest,) = {digest for found in runs.values() for _, digest, _ in found}  # the same bytes of tokenizer.json
    assert digest
    ours, peer = (statistics.median(run[0][0] for run in runs[which]) for which in ("ours", "peer"))
    memory = {which: max(run[2] for run in found) for which, found in runs.items()}
    table.append(
        Row(
            f"BPE training, {VOCABULARY:,} ids, {cores} cores",
            f"{ours:.1f} s, {memory['ours']:.0f} MiB",
            f"tokenizers {peer:.1f} s, {memory['peer']:.0f} MiB",
            f"{peer / ours:.1f}x as fast",
            f"{megabytes:.0f} MB of text_en and text_multi in {rounds} round(s); the same tokenizer.json",
        )
    )
