"""What is read, whatever the topology, the micro-batch, the ramp and the moment of a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.checkpoint.store import Cursor
from pipeline.config.schema import BatchRampConfig
from pipeline.data.batches import Batch
from pipeline.data.order import Int
from pipeline.data.skip import merged
from pipeline.train.batch_schedule import BatchSchedule
from pipeline.train.feed import feed, next_cursor, part_of


class Numbers:
    """A training set whose samples are their numbers."""

    fingerprint, unit, units_per_sample = "", "tokens", 10

    def batch(self, samples: Int) -> Batch:
        return {"tokens": torch.from_numpy(samples.copy())}


def read(
    cursor: Cursor, steps: int, schedule: BatchSchedule, ranks: int
) -> tuple[list[list[int]], list[Cursor], list[int]]:
    """The samples of each step in the order of the global batch, the cursors behind them, and the batch sizes."""
    size = schedule.per_pass // ranks
    streams = [feed(cursor, steps, schedule, Numbers(), rank, ranks, pin=False) for rank in range(ranks)]
    found, cursors, batches = [], [], []
    for together in zip(*streams, strict=True):
        assert len({one.cursor for one in together}) == 1
        passes = [np.stack([batch["tokens"].numpy() for batch in one.micro_batches]) for one in together]
        assert all(part.shape[1] == size for part in passes)
        found.append(np.stack(passes, axis=1).ravel().tolist())
        cursors.append(together[0].cursor)
        batches.append(together[0].global_batch)
    return found, cursors, batches


RAMP = BatchRampConfig(start=4, tokens=2000)
TOPOLOGIES = [(1, 4), (2, 2), (4, 1), (1, 2), (2, 1), (1, 1), (8, 1), (4, 2)]


@settings(max_examples=25)
@given(
    topology=st.sampled_from(TOPOLOGIES),
    ramp=st.sampled_from([None, RAMP]),
    ranges=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=3),
    resume=st.integers(0, 11),
)
def test_samples_are_the_same_for_any_topology_ramp_and_resume(
    topology: tuple[int, int], ramp: BatchRampConfig | None, ranges: list[tuple[int, int]], resume: int
) -> None:
    ranks, micro_batch = topology
    skip = merged((first, first + length) for first, length in ranges)
    schedule = BatchSchedule(24, ranks * micro_batch, 10, ramp)
    found, cursors, batches = read(Cursor(0, 0, 0, skip), 12, schedule, ranks)
    # The n-th sample that is consumed is the n-th that is not left out.
    flat = [sample for step in found for sample in step]
    kept = [n for n in range(len(flat) + 200) if not any(first <= n < end for first, end in skip)]
    assert flat == kept[: len(flat)]
    assert (
        [len(step) for step in found]
        == batches
        == [schedule.samples(c.consumed) for c in (Cursor(0, 0, 0), *cursors)][:-1]
    )
    # From any cursor on, the same steps again.
    cursor = cursors[resume - 1] if resume else Cursor(0, 0, 0, skip)
    again, later, _ = read(cursor, 12, schedule, ranks)
    assert (again, later) == (found[resume:], cursors[resume:])


def test_topologies_of_one_pass_size_have_the_same_steps() -> None:
    """Steps of a ramp end on whole passes; samples and their order never depend on it."""
    steps = [read(Cursor(0, 0, 0), 20, BatchSchedule(24, 4, 10, RAMP), ranks)[0] for ranks in (1, 2, 4)]
    assert steps[0] == steps[1] == steps[2]
    assert len(steps[0][0]) == 4
    assert len(steps[0][-1]) == 24


def test_parts_of_a_global_batch() -> None:
    batch = np.arange(12)
    assert part_of(batch, 1, 2, 3).tolist() == [[3, 4, 5], [9, 10, 11]]
    assert part_of(batch, 0, 1, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_range_added_later_leaves_what_was_read_alone() -> None:
    schedule = BatchSchedule(8, 8, 10)
    cursor, batch = next_cursor(Cursor(3, 24, 240, ((4, 9), (28, 30))), schedule)
    assert batch.tolist() == [24, 25, 26, 27, 30, 31, 32, 33]
    assert cursor == Cursor(4, 34, 320, ((4, 9), (28, 30)))


@pytest.mark.parametrize("bad", [{"start": 0, "tokens": 5}, {"start": 5, "tokens": 0}])
def test_a_ramp_needs_a_batch_and_a_length(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        BatchRampConfig.model_validate(bad)
