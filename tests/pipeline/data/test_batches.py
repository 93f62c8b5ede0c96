from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from small_model import write_dataset

from data_prep import store
from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, Shard, TokenSplit
from pipeline.data import batches
from pipeline.data.batches import FixedWindows, PackedWindows, window_count
from pipeline.data.sources import open_data
from pipeline.data.windows import WindowReader

LENGTH = 16


def fake_split(parts: list[Any]) -> TokenSplit:
    """A split of these shards."""
    split = TokenSplit.__new__(TokenSplit)
    split.shards = [Shard(part, np.zeros(1, np.int32), pa.array([], pa.string())) for part in parts]
    split._starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return split


def stream(folder: Path, split: str) -> list[int]:
    manifest = DatasetManifest.load(str(folder))
    tokens = TokenSplit(str(folder), manifest, split)
    return tokens.read(0, tokens.tokens).tolist()


@pytest.mark.parametrize(("tokens", "count"), [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2)])
def test_a_window_needs_its_last_target_too(tokens: int, count: int) -> None:
    assert window_count(tokens, 4) == count


def test_an_epoch_reads_every_window_of_the_stream_once(small_dataset: Path) -> None:
    samples = PackedWindows(open_data(str(small_dataset)), LENGTH, 3)
    tokens = stream(small_dataset, "train")
    assert samples.windows == (len(tokens) - 1) // LENGTH > 100
    batch = samples.batch(np.arange(samples.windows))
    starts = {tuple(tokens[i * LENGTH : (i + 1) * LENGTH + 1]) for i in range(samples.windows)}
    rows = {(*inputs, targets[-1]) for inputs, targets in zip(*(batch[k].tolist() for k in batch), strict=True)}
    assert rows == starts
    assert batch["tokens"].shape == batch["targets"].shape == (samples.windows, LENGTH)
    assert batch["tokens"].dtype == batch["targets"].dtype
    assert batch["tokens"][:, 1:].equal(batch["targets"][:, :-1])
    assert samples.unit == "tokens"
    assert samples.units_per_sample == LENGTH


def test_windows_cross_the_border_of_shards(small_dataset: Path) -> None:
    manifest = DatasetManifest.load(str(small_dataset))
    border = manifest.splits["train"].shards[0].tokens
    assert border % LENGTH, "the test needs a window that lies in both shards"
    samples = PackedWindows(open_data(str(small_dataset)), LENGTH, 3)
    window = border // LENGTH
    order = samples._order.locate(np.arange(samples.windows)).window.tolist()
    found = samples.batch(np.array([order.index(window)]))["tokens"][0].tolist()
    assert found == stream(small_dataset, "train")[window * LENGTH : (window + 1) * LENGTH]


def test_places_computed_ahead_are_those_of_the_order(small_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = PackedWindows(open_data(str(small_dataset)), LENGTH, 3)
    monkeypatch.setattr(batches, "AHEAD", 32)
    ahead = PackedWindows(open_data(str(small_dataset)), LENGTH, 3)
    for wanted in ([0, 1, 2], [30, 31], [31, 32, 33], [5], [1000, 1031], [1000, 1032], [7, 3, 900], [64, 63]):
        numbers = np.array(wanted)
        one, other = samples.batch(numbers), ahead.batch(numbers)
        each = [samples.batch(numbers[i : i + 1])["tokens"][0] for i in range(len(numbers))]
        assert all(one[name].equal(other[name]) for name in one)
        assert [row.tolist() for row in one["tokens"]] == [row.tolist() for row in each]


def test_windows_of_many_short_shards_are_those_of_the_stream() -> None:
    """Shards of all lengths, empty ones and ones shorter than a window among them, of two sources."""
    draw = np.random.default_rng(0)
    splits, streams = [], []
    for sizes in ([40, 0, 3, 1, 90, 17, 2, 33], [5, 5, 5, 70, 0]):
        parts = [draw.integers(0, 60_000, size).astype(np.uint16) for size in sizes]
        streams.append(np.concatenate(parts).astype(np.int64))
        splits.append(fake_split(parts))
    reader = WindowReader(splits, 8)
    counts = [window_count(len(stream), 8) for stream in streams]
    places = np.array([(source, window) for source in (0, 1) for window in range(counts[source])])
    draw.shuffle(places)
    source, window = places.T
    everywhere = reader.places(source, window)
    shared = everywhere.address < 0
    assert 0 < shared.sum() < len(places)
    assert not everywhere.whole
    assert reader.places(source[~shared], window[~shared]).whole
    for chosen in (np.ones(len(places), bool), ~shared, shared):
        found = reader.read(everywhere, np.flatnonzero(chosen))
        for row, (s, w) in enumerate(places[chosen]):
            assert found["tokens"][row].tolist() == streams[s][w * 8 : w * 8 + 8].tolist()
            assert found["targets"][row].tolist() == streams[s][w * 8 + 1 : w * 8 + 9].tolist()
        assert all(tensor.dtype == torch.int64 and tensor.is_contiguous() for tensor in found.values())


def test_streams_of_several_types_are_not_read_as_one() -> None:
    parts = [np.zeros(20, np.uint16)], [np.zeros(20, np.uint32)]
    with pytest.raises(ValueError, match=r"uint16.*uint32"):
        WindowReader([fake_split(part) for part in parts], 8)


def test_validation_is_the_start_of_its_split_in_order(small_dataset: Path) -> None:
    held_out = FixedWindows(open_data(str(small_dataset)), LENGTH, 5 * LENGTH + 3)
    tokens = stream(small_dataset, "validation")
    assert len(held_out) == 5
    batch = held_out.batch(np.arange(5))
    assert batch["tokens"].flatten().tolist() == tokens[: 5 * LENGTH]
    assert batch["targets"].flatten().tolist() == tokens[1 : 5 * LENGTH + 1]


def test_validation_has_at_most_what_there_is_and_at_least_one_window(small_dataset: Path) -> None:
    manifest = DatasetManifest.load(str(small_dataset))
    everything = FixedWindows(open_data(str(small_dataset)), LENGTH, 10**9)
    assert len(everything) == (manifest.splits["validation"].tokens - 1) // LENGTH
    assert len(FixedWindows(open_data(str(small_dataset)), LENGTH, 1)) == 1


def test_the_fingerprint_changes_with_data_length_and_seed(small_dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", seed=1)
    prints = [
        PackedWindows(open_data(str(folder)), length, seed).fingerprint
        for folder, length, seed in (
            (small_dataset, 16, 1),
            (small_dataset, 16, 2),
            (small_dataset, 8, 1),
            (tmp_path / "other", 16, 1),
        )
    ]
    assert len(set(prints)) == 4
    manifest = DatasetManifest.load(str(small_dataset))
    assert prints[0] == store.digest({"datasets": [manifest.digest], "length": 16, "seed": 1})


def test_a_split_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, train=2, validation=1)
    with pytest.raises(UserError, match=r"the train split holds \d+ tokens, fewer than one window of 4097"):
        PackedWindows(open_data(str(tmp_path)), 4096, 0)
    with pytest.raises(UserError, match=r"validation split holds .* fewer than one window.*validation_share"):
        FixedWindows(open_data(str(tmp_path)), 4096, 100)
