from __future__ import annotations

import os

import pytest
from harness import ranks

from pipeline import distributed
from pipeline.train.stragglers import Slow, StragglerReport, find_slow


@pytest.mark.parametrize(
    ("work", "waits", "worst", "slow"),
    [
        ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], 1.0, []),
        ([1.0, 1.0, 1.3], [0.0, 0.0, 0.0], 1.3, [Slow(2, 1.3, False)]),
        ([1.0, 1.0, 0.2], [0.0, 0.0, 0.0], 1.0, []),
        ([1.0, 1.0, 1.0], [0.3, 0.05, 0.05], 1.25, [Slow(0, 1.25, True)]),
        ([1.0, 1.0, 1.0], [0.4, 0.4, 0.4], 1.0, []),  # all wait: that is no rank's fault
        ([1.0], [0.9], 1.0, []),
    ],
)
def test_slow_is_what_is_beyond_the_median(
    work: list[float], waits: list[float], worst: float, slow: list[Slow]
) -> None:
    found, named = find_slow(work, waits, 1.1)
    assert found == pytest.approx(worst)
    assert [(one.rank, one.waits) for one in named] == [(one.rank, one.waits) for one in slow]
    assert [one.ratio for one in named] == pytest.approx([one.ratio for one in slow])


class Throttled(StragglerReport):
    """The work of rank 2 takes much longer."""

    def _work(self) -> float:
        return super()._work() + (1.0 if os.environ["RANK"] == "2" else 0.0)


def _looks() -> list[tuple[float, str | None]]:
    report = Throttled(distributed.init(), 100.0)
    return [report.look(0.0) for _ in range(2)]


def test_a_slow_rank_is_named_with_its_host_when_it_stays_slow() -> None:
    found = ranks(3, _looks)
    assert found[0] == found[1] == found[2]
    (first, early), (second, line) = found[0]
    assert min(first, second) > 100
    assert early is None
    assert line is not None
    assert line.startswith(f"slower than 100x the median: rank 2 on {os.uname().nodename} (")


def test_one_rank_is_its_own_median() -> None:
    assert ranks(1, _looks)[0] == [(1.0, None)] * 2
