from pathlib import Path

import numpy as np
import pytest
from small_model import write_dataset

from data_prep import store
from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.data.batches import FixedWindows, PackedWindows, window_count
from pipeline.data.sources import open_data

LENGTH = 16


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
