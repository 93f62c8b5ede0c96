import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.order import LengthGroups


def lengths_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(3, 200, count)


@given(
    count=st.integers(1, 90), batch=st.integers(1, 12), group=st.integers(0, 5), seed=st.integers(0, 9), cuts=st.data()
)
def test_every_epoch_has_each_example_once_however_it_is_read(
    count: int, batch: int, group: int, seed: int, cuts: st.DataObject
) -> None:
    order = LengthGroups(lengths_of(count), seed, batch, group)
    samples = np.arange(3 * count)
    found = order.locate(samples)
    for epoch in range(3):
        assert sorted(found[epoch * count : (epoch + 1) * count]) == list(range(count))
    some = np.array(cuts.draw(st.lists(st.integers(0, 3 * count - 1), min_size=1, max_size=20)))
    again = LengthGroups(lengths_of(count), seed, batch, group)
    assert again.locate(some).tolist() == found[some].tolist()


def padded_share(lengths: np.ndarray, batch: int) -> float:
    rows = lengths.reshape(-1, batch)
    return float(1 - rows.sum() / (rows.max(1) * batch).sum())


def test_batches_are_of_like_length_in_no_order_of_length() -> None:
    lengths = lengths_of(4096)
    samples = np.arange(4096)
    plain, grouped = (lengths[LengthGroups(lengths, 3, 32, group).locate(samples)] for group in (0, 8))
    assert padded_share(plain, 32) > 0.4
    assert padded_share(grouped, 32) < 0.12
    means = grouped.reshape(-1, 8, 32).mean(2)
    ranks = means.argsort(1).argsort(1)
    assert len({tuple(row) for row in ranks.tolist()}) == len(ranks)  # each window in an order of its own
    assert len(set(ranks[:, 0].tolist())) > 4  # long batches and short ones come first


def test_another_seed_is_another_order() -> None:
    lengths, samples = lengths_of(64), np.arange(64)
    one, other = (LengthGroups(lengths, seed, 8, 2).locate(samples).tolist() for seed in (1, 2))
    assert one != other


def test_one_batch_is_sorted_within_itself_and_keeps_its_examples() -> None:
    lengths, samples = lengths_of(64), np.arange(64)
    plain, own = (LengthGroups(lengths, 1, 8, group).locate(samples).reshape(-1, 8) for group in (0, 1))
    for one, other in zip(plain, own, strict=True):
        assert set(one) == set(other)
        assert (np.diff(lengths[other]) >= 0).all()
