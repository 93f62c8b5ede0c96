"""What each step reads: a pure function of the cursor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.checkpoint.store import Cursor
from pipeline.data.batches import Batch, Samples
from pipeline.data.order import Int
from pipeline.data.prefetch import pinned
from pipeline.data.skip import take
from pipeline.train.batch_schedule import BatchSchedule


@dataclass(frozen=True)
class StepInput:
    """One step.

    Attributes:
        cursor: where the run stands when the step is done.
        first: number of its first sample.
        global_batch: samples of the step.
        micro_batches: this data-parallel rank's part of them.
    """

    cursor: Cursor
    first: int
    global_batch: int
    micro_batches: list[Batch]


def part_of(batch: Int, rank: int, ranks: int, micro_batch: int) -> Int:
    """[n] samples of a global batch -> [micro-batches, micro_batch] samples of one data-parallel rank.

    Micro-batch k of rank r is samples (k R + r) m .. (k R + r + 1) m of the batch, with R ranks and m per micro-batch.
    """
    part: Int = batch.reshape(-1, ranks, micro_batch)[:, rank]
    return part


def next_cursor(cursor: Cursor, schedule: BatchSchedule) -> tuple[Cursor, Int]:
    """The cursor behind the next step, and the samples of the step."""
    batch = take(cursor.samples, schedule.samples(cursor.consumed), cursor.skip)
    consumed = cursor.consumed + len(batch) * schedule.units_per_sample
    return Cursor(cursor.step + 1, int(batch[-1]) + 1, consumed, cursor.skip), batch


def feed(
    cursor: Cursor, steps: int, schedule: BatchSchedule, samples: Samples, rank: int, ranks: int, pin: bool
) -> Iterator[StepInput]:
    """The steps that follow a cursor.

    Args:
        cursor: where the run stands.
        steps: of the whole run.
        schedule: gives the size of each global batch.
        samples: the training set.
        rank: this data-parallel rank.
        ranks: number of data-parallel ranks.
        pin: put the batches into page-locked memory.
    """
    while cursor.step < steps:
        cursor, batch = next_cursor(cursor, schedule)
        mine = part_of(batch, rank, ranks, schedule.per_pass // ranks)
        micro_batches = [samples.batch(part) for part in mine]
        yield StepInput(
            cursor, int(batch[0]), len(batch), [pinned(one) for one in micro_batches] if pin else micro_batches
        )
