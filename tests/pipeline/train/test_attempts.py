from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.train.attempts import ATTEMPTS, HEARTBEAT, Beat, Deaths, Heartbeat, after, begin, refusal

SIXTH, SEVENTH = Beat(6, 60, 72), Beat(7, 72, 84)


def test_deaths_in_a_row_in_the_same_step_count() -> None:
    once = after(None, SIXTH)
    assert once == Deaths(SIXTH, 1)
    assert after(once, None) == once
    assert after(once, SIXTH) == Deaths(SIXTH, 2)
    assert after(once, SEVENTH) == Deaths(SEVENTH, 1)
    assert after(once, Beat(6, 72, 84)) == Deaths(Beat(6, 72, 84), 1)  # the same step of other samples
    assert after(None, None) is None


@pytest.mark.parametrize(
    ("deaths", "skip", "allowed", "refused"),
    [
        (None, (), 2, False),
        (Deaths(SIXTH, 1), (), 2, False),
        (Deaths(SIXTH, 2), (), 2, True),
        (Deaths(SIXTH, 2), (), 3, False),
        (Deaths(SIXTH, 2), ((60, 72),), 2, False),
        (Deaths(SIXTH, 2), ((0, 66), (66, 100)), 2, False),
        (Deaths(SIXTH, 2), ((0, 71),), 2, True),
    ],
)
def test_a_step_that_killed_is_refused_unless_its_samples_are_skipped(
    deaths: Deaths | None, skip: tuple[tuple[int, int], ...], allowed: int, refused: bool
) -> None:
    assert (refusal(deaths, skip, allowed, True) is not None) == refused


def test_the_line_says_how_to_go_on() -> None:
    line = refusal(Deaths(SIXTH, 2), (), 2, True)
    assert line is not None
    assert "step 6 (samples 60 to 71)" in line
    assert "data.skip=[[60,72]] or try it again with health.max_deaths=3" in line
    fine_tuning = refusal(Deaths(SIXTH, 2), (), 2, False)
    assert fine_tuning is not None
    assert "data.skip" not in fine_tuning


def died(run_dir: Path, *beats: Beat) -> None:
    heartbeat = Heartbeat(run_dir)
    for one in beats:
        heartbeat.beat(one)


def test_what_the_files_tell_from_start_to_start(tmp_path: Path) -> None:
    def start() -> str | None:
        return begin(tmp_path, (), 2, True)

    assert start() is None
    died(tmp_path)  # in no step
    assert start() is None
    died(tmp_path, Beat(1_000_000, 12_345_678, 12_999_999), SIXTH)
    assert orjson.loads((tmp_path / HEARTBEAT).read_bytes()) == {"step": 6, "first": 60, "end": 72}
    assert start() is None
    assert start() is None  # killed before its first step: counts nothing, and forgets nothing
    died(tmp_path, SIXTH)
    assert start() is not None
    assert start() is not None  # and stays so


def test_what_a_run_came_past_is_forgotten(tmp_path: Path) -> None:
    died(tmp_path, SIXTH)
    begin(tmp_path, (), 2, True)
    heartbeat = Heartbeat(tmp_path)
    heartbeat.beat(SIXTH)
    heartbeat.close()  # stopped in the very step
    assert (tmp_path / ATTEMPTS).exists()
    heartbeat = Heartbeat(tmp_path)
    heartbeat.beat(SEVENTH)
    heartbeat.close()
    assert not (tmp_path / ATTEMPTS).exists()
    assert not (tmp_path / HEARTBEAT).exists()


@given(st.lists(st.sampled_from([None, SIXTH, SEVENTH]), max_size=8))
def test_only_the_last_row_counts(beats: list[Beat | None]) -> None:
    deaths: Deaths | None = None
    for beat in beats:
        deaths = after(deaths, beat)
    real = [beat for beat in beats if beat is not None]
    count = next((i for i, beat in enumerate(reversed(real)) if beat != real[-1]), len(real))
    assert deaths == (Deaths(real[-1], count) if real else None)
