"""Shuffled batches from memory-mapped shards, beside gathers in memory and the readers that others use.

Every reader gives the same: `tokens` and `targets`, each [16, 1024] int64 torch tensors, windows in an order shuffled
over the whole dataset, all in the page cache. Sequences are counted.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from measure import Row, alternate

from data_prep.shards import DatasetManifest, Shard, ShardInfo, SplitInfo, write_shard
from pipeline.data.batches import PackedWindows
from pipeline.data.sources import open_data

SHARDS, DOCUMENTS, LENGTH = 10, 110_000, 1024
BATCH, BATCHES, FEW = 16, 2000, 100
MEAN_TOKENS = 1000
RAW = "raw.bin"

Read = Callable[[int], None]
"""Reads so many batches."""


def make_dataset(folder: Path) -> int:
    """Shards of random tokens, and the same stream as one plain file; returns the number of tokens."""
    draw = np.random.default_rng(0)
    infos = []
    with (folder / RAW).open("wb") as raw:
        for number in range(SHARDS):
            lengths = draw.integers(1, 2 * MEAN_TOKENS, DOCUMENTS)
            stream = draw.integers(0, 50_257, int(lengths.sum()), dtype=np.uint16)
            documents = np.split(stream, np.cumsum(lengths)[:-1])
            path = folder / f"train-{number}.arrow"
            ids = [f"{number}-{i}" for i in range(DOCUMENTS)]
            with path.open("wb") as handle:
                tokens = write_shard(handle, ids, documents, np.dtype(np.uint16))
            infos.append(ShardInfo(path.name, "x", path.stat().st_size, DOCUMENTS, tokens))
            raw.write(stream.tobytes())
    split = SplitInfo(tuple(infos), 1, 1)
    DatasetManifest("bench", "x", 50_257, 50_256, "uint16", {"train": split}, {}).save(str(folder))
    return sum(info.tokens for info in infos)


def as_batch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """[n, LENGTH + 1] -> tokens and targets; the fastest cast that was found."""
    return torch.from_numpy(rows[:, :-1].astype(np.int64)), torch.from_numpy(rows[:, 1:].astype(np.int64))


def open_ours(folder: str) -> Read:
    windows, position = PackedWindows(open_data(folder), LENGTH, seed=1), 0

    def read(batches: int) -> None:
        nonlocal position  # goes on, so that the order is computed for every batch anew
        for _ in range(batches):
            windows.batch(np.arange(position, position + BATCH))
            position += BATCH

    return read


def open_floor(folder: str) -> Read:
    """All windows as overlapping rows of one array in memory, a permutation in memory, one gather, the same casts."""
    stream = np.fromfile(Path(folder) / RAW, np.uint16)
    order = np.random.default_rng(1).permutation((len(stream) - 1) // LENGTH)
    rows = np.lib.stride_tricks.as_strided(stream, (len(order), LENGTH + 1), (2 * LENGTH, 2))

    def read(batches: int) -> None:
        for step in range(batches):
            as_batch(rows[order[step * BATCH : (step + 1) * BATCH]])

    return read


def open_inputs_only(folder: str) -> Read:
    """The same without targets: half of the bytes."""
    stream = np.fromfile(Path(folder) / RAW, np.uint16)
    order = np.random.default_rng(1).permutation((len(stream) - 1) // LENGTH)
    rows = stream[: len(order) * LENGTH].reshape(-1, LENGTH)

    def read(batches: int) -> None:
        for step in range(batches):
            torch.from_numpy(rows[order[step * BATCH : (step + 1) * BATCH]].astype(np.int64))

    return read


@dataclass
class MegatronIndex:
    """How Megatron-LM reads: a document order, (document, offset) of every sample and a sample order, built at start.

    The shards stand for its .bin file, their document offsets for its .idx file.
    """

    shards: list[Shard]

    def __post_init__(self) -> None:
        draw = np.random.default_rng(1)
        lengths = np.concatenate([np.diff(shard.offsets) for shard in self.shards])
        self.shard_of = np.repeat(np.arange(len(self.shards)), [len(shard.offsets) - 1 for shard in self.shards])
        self.start_of = np.concatenate([shard.offsets[:-1] for shard in self.shards])
        self.lengths = lengths
        self.document_order = draw.permutation(len(lengths))
        ends = np.cumsum(lengths[self.document_order], dtype=np.int64)
        starts = np.arange((ends[-1] - 1) // LENGTH + 1, dtype=np.int64) * LENGTH
        document = np.searchsorted(ends, starts, side="right")
        offset = starts - np.concatenate([[0], ends])[document]
        self.sample_index = np.stack([document, offset], axis=1)
        self.shuffle = draw.permutation(len(starts) - 1)

    def sample(self, number: int) -> np.ndarray:
        """[LENGTH + 1] tokens, put together of as many documents as it takes."""
        place, offset = self.sample_index[self.shuffle[number]].tolist()
        parts, missing = [], LENGTH + 1
        while missing:
            document = self.document_order[place]
            start = self.start_of[document] + offset
            take = min(missing, self.lengths[document] - offset)
            parts.append(self.shards[self.shard_of[document]].tokens[start : start + take])
            place, offset, missing = place + 1, 0, missing - take
        return np.concatenate(parts)


def open_megatron(folder: str) -> Read:
    shards = DatasetManifest.load(folder).splits["train"].shards
    index = MegatronIndex([Shard.open(f"{folder}/{info.path}") for info in shards])

    def read(batches: int) -> None:
        for step in range(batches):
            as_batch(np.stack([index.sample(number) for number in range(step * BATCH, (step + 1) * BATCH)]))

    return read


def write_hugging_face(folder: str) -> None:
    """Fixed windows as a Hugging Face dataset, as its users prepare them for pretraining; as much as 64 MB."""
    import datasets

    stream = np.fromfile(Path(folder) / RAW, np.uint16, count=32 * 2**20)
    windows = (len(stream) - 1) // LENGTH
    rows = np.lib.stride_tricks.as_strided(stream, (windows, LENGTH + 1), (2 * LENGTH, 2))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("uint16"), length=LENGTH + 1)})
    datasets.Dataset.from_dict({"tokens": list(rows)}, features=features).save_to_disk(f"{folder}/hf")


def open_hugging_face(folder: str) -> Read:
    import datasets

    rows = datasets.load_from_disk(f"{folder}/hf").with_format("numpy")
    order = np.random.default_rng(1).permutation(len(rows))

    def read(batches: int) -> None:
        for step in range(batches):
            as_batch(rows[order[step * BATCH : (step + 1) * BATCH]]["tokens"])

    return read


def _anonymous_mib() -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024


def grown_mib(folder: str, batches: int) -> float:
    """Memory of its own (not mapped from files) that a process has more after it has read so many batches."""
    torch.zeros(BATCH, LENGTH)
    before = _anonymous_mib()
    open_ours(folder)(batches)
    return _anonymous_mib() - before


@pytest.mark.benchmark
def test_loader(tmp_path: Path, table: list[Row]) -> None:
    torch.set_num_threads(1)
    folder, tokens = str(tmp_path), make_dataset(tmp_path)
    write_hugging_face(folder)
    openers = [open_ours, open_floor, open_inputs_only, open_megatron, open_hugging_face]
    reads = [opener(folder) for opener in openers]
    much = [BATCHES, BATCHES, BATCHES, BATCHES, FEW]
    turns = [lambda read=read, n=n: read(n) for read, n in zip(reads, much, strict=True)]
    seconds = alternate(*turns, clock=time.process_time)  # what else the machine does is not counted
    speeds = [n * BATCH / time for n, time in zip(much, seconds, strict=True)]
    ours = speeds[0]
    del reads
    notes = f"{tokens / 1e9:.2f}B tokens in {SHARDS} shards, pages in the cache, tokens and targets [16, 1024] int64"
    for name, speed, goal in zip(
        (
            "numpy gather in memory, same tensors",
            "numpy gather in memory, without targets",
            "Megatron-style index",
            "HF datasets, numpy format",
        ),
        speeds[1:],
        ("goal 50 %", "half of the bytes", "goal 3x", "goal 5x; of 64 MB"),
        strict=True,
    ):
        ratio = f"{100 * ours / speed:.0f} %" if "gather" in name else f"{ours / speed:.1f}x"
        table.append(
            Row(
                "shuffled sequences",
                f"{ours / 1e3:,.0f}k/s",
                f"{name} {speed / 1e3:,.0f}k/s",
                ratio,
                f"{goal}; {notes}",
            )
        )
    start_ours, start_index = alternate(lambda: open_ours(folder), lambda: open_megatron(folder), repeats=3)
    table.append(
        Row(
            "start of the loader",
            f"{start_ours * 1e3:.1f} ms",
            f"Megatron-style index {start_index * 1e3:,.0f} ms",
            f"{start_index / start_ours:.0f}x",
            f"goal 100 ms; {tokens / 1e9:.2f}B tokens, {SHARDS * DOCUMENTS:,} documents",
        )
    )
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        memory = [fresh.apply(grown_mib, (folder, batches)) for batches in (1, BATCHES)]
    table.append(
        Row(
            "memory of the loader",
            f"{memory[1]:.1f} MiB",
            f"after the first batch {memory[0]:.1f} MiB",
            f"{memory[1] - memory[0]:+.1f} MiB",
            f"anonymous, above the imports; {BATCHES * BATCH:,} sequences read",
        )
    )
