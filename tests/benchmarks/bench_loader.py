"""Shuffled batches from memory-mapped shards against a gather from an array in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from measure import Row, alternate, peak_mib

from data_prep import store
from data_prep.shards import DatasetManifest, ShardInfo, SplitInfo, write_shard
from pipeline.data.batches import PackedWindows
from pipeline.data.sources import open_data

SHARDS, DOCUMENTS, LENGTH = 4, 8_000, 1024
BATCH, BATCHES = 16, 50
MEAN_TOKENS = 1000
RAW = "raw.bin"


def make_dataset(folder: Path) -> int:
    """Shards of random tokens, and the same stream as one plain file; returns the number of tokens."""
    draw = np.random.default_rng(0)
    infos = []
    with (folder / RAW).open("wb") as raw:
        for number in range(SHARDS):
            lengths = draw.integers(1, 2 * MEAN_TOKENS, DOCUMENTS)
            documents = [draw.integers(0, 50_257, length).astype(np.uint16) for length in lengths]
            path = folder / f"train-{number}.arrow"
            with path.open("wb") as handle:
                tokens = write_shard(
                    handle, [f"{number}-{i}" for i in range(DOCUMENTS)], documents, np.dtype(np.uint16)
                )
            infos.append(ShardInfo(path.name, store.sha256_of(str(path)), path.stat().st_size, DOCUMENTS, tokens))
            raw.write(np.concatenate(documents).tobytes())
    split = SplitInfo(tuple(infos), 1, 1)
    DatasetManifest("bench", "x", 50_257, 50_256, "uint16", {"train": split}, {}).save(str(folder))
    return sum(info.tokens for info in infos)


def open_ours(folder: str) -> PackedWindows:
    return PackedWindows(open_data(folder), LENGTH, seed=1)


def read_ours(windows: PackedWindows) -> None:
    for step in range(BATCHES):
        windows.batch(np.arange(step * BATCH, (step + 1) * BATCH))


def open_peer(folder: str) -> tuple[np.ndarray, np.ndarray]:
    stream = np.fromfile(Path(folder) / RAW, np.uint16)
    return stream, np.random.default_rng(1).permutation((len(stream) - 1) // LENGTH)


def read_peer(stream: np.ndarray, order: np.ndarray) -> None:
    positions = np.arange(LENGTH + 1)
    for step in range(BATCHES):
        starts = order[step * BATCH : (step + 1) * BATCH] * LENGTH
        both = torch.from_numpy(stream[starts[:, None] + positions].astype(np.int64))
        both[:, :-1].contiguous(), both[:, 1:].contiguous()


def ours_at_once(folder: str) -> None:
    read_ours(open_ours(folder))


def peer_at_once(folder: str) -> None:
    read_peer(*open_peer(folder))


@pytest.mark.benchmark
def test_loader(tmp_path: Path, table: list[Row]) -> None:
    folder, tokens = str(tmp_path), make_dataset(tmp_path)
    windows, peer = open_ours(folder), open_peer(folder)
    ours, floor = alternate(lambda: read_ours(windows), lambda: read_peer(*peer))
    start_ours, start_floor = alternate(lambda: open_ours(folder), lambda: open_peer(folder))
    read = BATCHES * BATCH * LENGTH
    memory = peak_mib(ours_at_once, folder), peak_mib(peer_at_once, folder)
    table.append(
        Row(
            f"batches of {BATCH} x {LENGTH} int64, shuffled",
            f"{read / ours / 1e6:,.0f}M tokens/s",
            f"numpy gather in memory {read / floor / 1e6:,.0f}M tokens/s",
            f"{ours / floor:.2f}x the time",
            f"{tokens / 1e6:.0f}M tokens in {SHARDS} shards, pages in the cache; "
            f"peak memory {memory[0]:.0f} MiB, in memory {memory[1]:.0f} MiB",
        )
    )
    table.append(
        Row(
            "start of the loader",
            f"{start_ours * 1e3:.1f} ms",
            f"read the tokens, draw an order {start_floor * 1e3:.1f} ms",
            f"{start_ours / start_floor:.2f}x the time",
            f"{tokens / 1e6:.0f}M tokens in {SHARDS} shards",
        )
    )
