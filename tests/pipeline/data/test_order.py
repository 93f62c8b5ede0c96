import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.mixture import BLOCK, quotas
from pipeline.data.order import SampleOrder, key, permute


def locate(order: SampleOrder, samples: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    found = order.locate(samples.astype(np.int64))
    return np.stack([found.source, found.epoch, found.window], axis=1)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation_of_any_size(size: int, value: int) -> None:
    image = permute(np.arange(size), size, np.array([value], np.uint64))
    assert np.array_equal(np.sort(image), np.arange(size))


def test_permute_of_a_huge_size_stays_inside_and_is_one_to_one() -> None:
    size = 10**12 + 39
    index = np.concatenate([np.arange(5000), size - 1 - np.arange(5000)])
    image = permute(index, size, np.array([5], np.uint64))
    assert image.min() >= 0
    assert image.max() < size
    assert len(set(image.tolist())) == len(index)


def test_permute_mixes() -> None:
    image = permute(np.arange(10_000), 10_000, np.array([1], np.uint64))
    assert abs(np.corrcoef(np.arange(10_000), image)[0, 1]) < 0.05
    assert np.mean(np.abs(np.diff(image))) == pytest.approx(10_000 / 3, rel=0.05)
    other = permute(np.arange(10_000), 10_000, np.array([2], np.uint64))
    assert np.mean(image == other) < 0.01


def test_golden_order() -> None:
    """A change of the order makes every run of the past unrepeatable."""
    order = SampleOrder([10], [1.0], seed=1)
    assert order.locate(np.arange(12)).window.tolist() == [2, 5, 1, 7, 3, 9, 8, 4, 0, 6, 2, 1]
    mixed = SampleOrder([100, 50], [2.0, 1.0], seed=1).locate(np.arange(6))
    assert (mixed.source.tolist(), mixed.window.tolist()) == ([0, 0, 0, 1, 0, 1], [35, 77, 5, 35, 36, 47])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(0, 1000), st.integers(1, 4))
def test_each_window_once_an_epoch(windows: int, seed: int, epochs: int) -> None:
    found = locate(SampleOrder([windows], [1.0], seed), np.arange(windows * epochs))
    for epoch in range(epochs):
        part = found[epoch * windows : (epoch + 1) * windows]
        assert set(part[:, 1]) == {epoch}
        assert np.array_equal(np.sort(part[:, 2]), np.arange(windows))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order = SampleOrder([500], [1.0], 1)
    first, second = (order.locate(np.arange(500) + 500 * epoch).window for epoch in (0, 1))
    other = SampleOrder([500], [1.0], 2).locate(np.arange(500)).window
    assert np.mean(first == second) < 0.05
    assert np.mean(first == other) < 0.05


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 50)), min_size=2, max_size=4), st.integers(0, 99))
def test_the_mixture_is_exact_in_every_block(sources: list[tuple[int, int]], seed: int) -> None:
    windows, weights = [w for w, _ in sources], [float(weight) for _, weight in sources]
    wanted = quotas(weights)
    found = locate(SampleOrder(windows, weights, seed), np.arange(3 * BLOCK))
    for block in range(3):
        counts = np.bincount(found[block * BLOCK : (block + 1) * BLOCK, 0], minlength=len(sources))
        assert counts.tolist() == wanted
    for source, size in enumerate(windows):
        mine = found[found[:, 0] == source]
        seen = {(epoch, window) for _, epoch, window in mine.tolist()}
        assert len(seen) == len(mine)  # no window twice in an epoch
        complete = len(mine) // size
        assert sum(epoch < complete for epoch, _ in seen) == complete * size


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5000), st.lists(st.integers(1, 60), min_size=1, max_size=6), st.booleans())
def test_the_grouping_of_samples_changes_nothing(first: int, sizes: list[int], mixed: bool) -> None:
    order = SampleOrder([97, 31], [3.0, 1.0], 5) if mixed else SampleOrder([97], [1.0], 5)
    samples = first + np.arange(sum(sizes))
    parts = np.split(samples, np.cumsum(sizes)[:-1])
    assert np.array_equal(locate(order, samples), np.concatenate([locate(order, part) for part in parts]))
    shuffled = np.random.default_rng(0).permutation(len(samples))
    assert np.array_equal(locate(order, samples)[shuffled], locate(order, samples[shuffled]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6))
def test_quotas_are_within_one_of_the_exact_share(weights: list[float]) -> None:
    counts = quotas(weights)
    assert sum(counts) == BLOCK
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - BLOCK * weight / sum(weights)) < 1


@pytest.mark.parametrize("weights", [[], [1.0, 0.0], [1.0, -1.0], [1.0, 1e-9]])
def test_weights_that_give_a_source_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        quotas(weights)


@pytest.mark.parametrize(("windows", "weights"), [([0], [1.0]), ([3], [1.0, 1.0])])
def test_a_source_without_windows_or_weight_is_refused(windows: list[int], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="source"):
        SampleOrder(windows, weights, 0)


def test_keys_tell_purposes_apart() -> None:
    assert key(1, "a", 2) == key(1, "a", 2)
    assert len({key(1, "a", 2), key(1, "a", 3), key(1, "b", 2), key(2, "a", 2)}) == 4
    assert key(1, "dropout", 1, 0) < 1 << 64
