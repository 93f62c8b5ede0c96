"""Pretraining on one dataset and on a mixture of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import ranks
from run_folder import losses
from small_model import pretrain_config, write_dataset

from data_prep import configfile, mixture
from data_prep.errors import UserError
from data_prep.mixture import BLOCK, MixtureSettings
from data_prep.shards import DatasetManifest, TokenSplit, unigram_entropy
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.complete import made_from
from pipeline.data.batches import FixedWindows, PackedWindows
from pipeline.data.sources import open_data
from pipeline.pretrain import pretrain

LENGTH = 16
WEIGHTS = {"first": 60, "second": 41}
"""Of 101: 608 and 416 of 1,024 samples."""


def write_mixture(folder: Path, weights: dict[str, float]) -> Path:
    sources = {name: {"path": str(folder / name), "weight": weight} for name, weight in weights.items()}
    settings = configfile.validate(MixtureSettings, {"name": "two", "tokens": 10**6, "sources": sources}, "test")
    path = folder / f"{'-'.join(map(str, weights.values()))}.json"
    mixture.mix(settings, "test").save(str(path))
    return path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of two corpora; not to be written to."""
    folder = tmp_path_factory.mktemp("mixture")
    write_dataset(folder / "first", train=120, seed=1)
    write_dataset(folder / "second", train=40, seed=2, validation=30)
    return write_mixture(folder, WEIGHTS)


def windows_of(folder: Path, split: str = "train") -> list[tuple[int, ...]]:
    """The windows of a dataset, in the order of its stream."""
    tokens = TokenSplit(str(folder), DatasetManifest.load(str(folder)), split)
    stream = tokens.read(0, tokens.tokens).tolist()
    return [tuple(stream[i * LENGTH : (i + 1) * LENGTH]) for i in range((len(stream) - 1) // LENGTH)]


def test_the_proportions_are_those_of_the_weights_in_every_block(mixed: Path) -> None:
    samples = PackedWindows(open_data(str(mixed)), LENGTH, seed=3)
    belongs = {window: name for name in WEIGHTS for window in windows_of(mixed.parent / name)}
    rows = samples.batch(np.arange(3 * BLOCK))["tokens"].tolist()
    # Windows that stand in both corpora cannot be told apart: they count as the second's.
    twice = {w for w in windows_of(mixed.parent / "first") if w in set(windows_of(mixed.parent / "second"))}
    for block in range(3):
        part = [tuple(row) for row in rows[block * BLOCK : (block + 1) * BLOCK]]
        first = sum(belongs[row] == "first" for row in part)
        doubtful = sum(row in twice for row in part)
        assert first <= 608 <= first + doubtful
        assert doubtful < 100
    exact = np.bincount(samples._order.locate(np.arange(5 * BLOCK)).source)
    assert exact.tolist() == [5 * 608, 5 * 416]


def test_a_source_is_read_whole_in_each_epoch(mixed: Path) -> None:
    """Without replacement; the end of one epoch and the start of the next may lie between each other in one block."""
    samples = PackedWindows(open_data(str(mixed)), LENGTH, seed=3)
    found = samples._order.locate(np.arange(4 * BLOCK))
    for source, name in enumerate(WEIGHTS):
        mine = found.source == source
        count = len(windows_of(mixed.parent / name))
        last = int(found.epoch[mine].max())
        assert last > 1
        for epoch in range(last):
            assert np.array_equal(np.sort(found.window[mine & (found.epoch == epoch)]), np.arange(count))
            ends = np.flatnonzero(mine & (found.epoch == epoch)).max() // BLOCK
            starts = np.flatnonzero(mine & (found.epoch == epoch + 1)).min() // BLOCK
            assert starts >= ends


def test_ranks_and_micro_batches_change_nothing_of_what_is_read(mixed: Path) -> None:
    samples = PackedWindows(open_data(str(mixed)), LENGTH, seed=3)
    whole = samples.batch(np.arange(48))["tokens"]
    for size in (1, 4, 12):
        parts = [samples.batch(np.arange(start, start + size))["tokens"] for start in range(0, 48, size)]
        assert np.array_equal(np.concatenate([part.numpy() for part in parts]), whole.numpy())


def test_validation_is_mixed_by_the_same_weights(mixed: Path) -> None:
    data = open_data(str(mixed))
    held_out = FixedWindows(data, LENGTH, 20 * LENGTH)
    assert held_out.counts == [12, 8]  # of 20: 60/101 and 41/101
    rows = [tuple(row) for row in held_out.batch(np.arange(20))["tokens"].tolist()]
    expected = [windows_of(mixed.parent / name, "validation")[:n] for name, n in zip(WEIGHTS, (12, 8), strict=True)]
    assert rows == [window for part in expected for window in part]
    # The shorter split decides how many there are, so that no window counts twice.
    most = FixedWindows(data, LENGTH, 10**9)
    there = [len(windows_of(mixed.parent / name, "validation")) for name in WEIGHTS]
    assert there[0] < there[1]
    assert most.counts[0] == there[0]
    assert most.counts[0] / len(most) == pytest.approx(60 / 101, abs=1 / len(most))


def test_bytes_and_entropy_of_a_mixed_validation(mixed: Path, small_dataset: Path) -> None:
    held_out = FixedWindows(open_data(str(mixed)), LENGTH, 20 * LENGTH)
    manifests = [DatasetManifest.load(str(mixed.parent / name)) for name in WEIGHTS]
    infos = [manifest.splits["validation"] for manifest in manifests]
    bytes_per_token = sum(n / 20 * info.text_bytes / info.tokens for n, info in zip((12, 8), infos, strict=True))
    assert held_out.tokens_per_byte == pytest.approx(1 / bytes_per_token)
    parts = [
        TokenSplit(str(mixed.parent / name), manifest, "validation").counts(manifest.vocab_size)
        for name, manifest in zip(WEIGHTS, manifests, strict=True)
    ]
    p = 0.6 * parts[0] / parts[0].sum() + 0.4 * parts[1] / parts[1].sum()
    assert held_out.unigram_entropy == pytest.approx(-(p[p > 0] * np.log(p[p > 0])).sum())
    # Of one dataset, to the last bit what the split itself has.
    alone = FixedWindows(open_data(str(small_dataset)), LENGTH, 5 * LENGTH)
    manifest = DatasetManifest.load(str(small_dataset))
    info = manifest.splits["validation"]
    assert alone.tokens_per_byte == info.tokens / info.text_bytes
    split = TokenSplit(str(small_dataset), manifest, "validation")
    assert alone.unigram_entropy == unigram_entropy(split.counts(manifest.vocab_size))


def test_weights_and_datasets_are_in_the_fingerprint_and_the_lineage(mixed: Path) -> None:
    other = write_mixture(mixed.parent, {"first": 60, "second": 40})
    prints = [PackedWindows(open_data(str(path)), LENGTH, 3).fingerprint for path in (mixed, other)]
    assert prints[0] != prints[1]
    data = open_data(str(mixed))
    digests = {name: DatasetManifest.load(str(mixed.parent / name)).digest for name in WEIGHTS}
    assert data.lineage == {"mixture": data.digest, **{f"shards/{name}": digest for name, digest in digests.items()}}
    assert made_from(pretrain_config(mixed, Path("x"))) == data.digest


def test_another_dataset_than_the_one_that_was_mixed_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "first", train=30, seed=1)
    write_dataset(tmp_path / "second", train=30, seed=2)
    path = write_mixture(tmp_path, WEIGHTS)
    write_dataset(tmp_path / "second", train=30, seed=3)
    with pytest.raises(UserError, match=f"^{tmp_path}/second: second is not the dataset that was mixed"):
        open_data(str(path))
    with pytest.raises(UserError, match="no such mixture"):
        open_data(str(tmp_path / "nothing.json"))


def test_a_real_run_on_a_mixture(mixed: Path, tmp_path: Path) -> None:
    """Two ranks read what one reads; the checkpoint names every source, and another mixture does not continue it."""

    def config(name: str, path: Path = mixed, micro_batch: int = 2, steps: int = 4) -> object:
        # An eps well above rounding noise, which differs between one rank and two.
        return pretrain_config(
            path,
            tmp_path,
            run={"name": name},
            train={"tokens": steps * 12 * LENGTH, "micro_batch": micro_batch},
            schedule={"kind": "constant"},
            optimizer={"eps": 1e-4},
            checkpoint={"every": 2},
        )

    (result, _) = ranks(2, pretrain, config("two"))
    ranks(1, pretrain, config("one", micro_batch=12))
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), abs=1e-5)
    manifest = CheckpointManifest.load(Path(result["checkpoint"]))
    assert manifest.lineage == open_data(str(mixed)).lineage
    other = write_mixture(mixed.parent, {"first": 59, "second": 42})
    with pytest.raises(AssertionError, match="data is not what this run was started with"):
        ranks(1, pretrain, config("one", other, micro_batch=12, steps=6))
