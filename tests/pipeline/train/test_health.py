from __future__ import annotations

import math
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.health import HealthConfig
from pipeline.train.health import Detector, Verdict, z_score

WINDOW = 16


def detector(**changes: object) -> Detector:
    return Detector(HealthConfig.model_validate({"spike_z": 7.0, "spike_window": WINDOW, **changes}))


def wave(step: int) -> float:
    """A quiet series with a standard deviation of about 0.07."""
    return 3.0 + 0.1 * math.sin(step)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_updates_that_are_not_finite_are_left_out_until_there_are_too_many(loss: float) -> None:
    one = detector(max_skipped=3)
    assert one.judge(loss, 1.0).verdict is Verdict.LEFT_OUT
    assert one.judge(3.0, math.nan).verdict is Verdict.LEFT_OUT
    assert one.skipped_in_row == 2
    third = one.judge(3.0, math.inf)
    assert third.verdict is Verdict.ROLL_BACK
    assert third.reason == "3 updates in a row left out (loss 3, gradient norm inf)"


def test_only_those_in_a_row_count() -> None:
    one = detector(max_skipped=2)
    for _ in range(5):
        assert one.judge(math.nan, 1.0).verdict is Verdict.LEFT_OUT
        assert one.judge(3.0, 1.0).verdict is Verdict.ACCEPTED
        assert one.skipped_in_row == 0


def test_an_overflow_of_fp16_is_a_routine_unless_the_loss_is_not_finite() -> None:
    one = detector(max_skipped=1)
    for _ in range(10):
        assert one.judge(3.0, math.inf, routine_overflow=True).verdict is Verdict.ACCEPTED
    assert one.judge(math.nan, math.inf, routine_overflow=True).verdict is Verdict.ROLL_BACK


def test_an_overflow_between_two_bad_steps_does_not_part_them() -> None:
    one = detector(max_skipped=2)
    one.judge(math.nan, 1.0)
    one.judge(3.0, math.inf, routine_overflow=True)
    assert one.judge(math.nan, 1.0).verdict is Verdict.ROLL_BACK


@pytest.mark.parametrize(("loss", "norm", "name"), [(4.0, 3.0, "loss"), (3.0, 4.0, "gradient norm")])
def test_a_spike_of_either_is_seen_once_the_window_is_full(loss: float, norm: float, name: str) -> None:
    one = detector()
    for step in range(WINDOW - 1):
        assert one.judge(wave(step), wave(step)).verdict is Verdict.ACCEPTED
    early = detector()
    assert early.judge(loss, norm).verdict is Verdict.ACCEPTED
    assert one.judge(wave(WINDOW), wave(WINDOW)).verdict is Verdict.ACCEPTED
    spike = one.judge(loss, norm)
    assert spike.verdict is Verdict.ROLL_BACK
    assert spike.reason.startswith(f"{name} 4 is 1")
    assert spike.reason.endswith(f"standard deviations above its last {WINDOW}")


def test_what_was_a_spike_is_no_measure_of_what_is_usual() -> None:
    one = detector()
    for step in range(WINDOW):
        one.judge(wave(step), 1.0 + 0.01 * math.cos(step))
    for _ in range(5):
        assert one.judge(30.0, 1.0).verdict is Verdict.ROLL_BACK
        one.went_back()


def test_a_fall_is_no_spike_and_null_switches_spikes_off() -> None:
    one, off = detector(), detector(spike_z=None)
    for step in range(WINDOW):
        one.judge(wave(step), wave(step))
        off.judge(wave(step), wave(step))
    assert one.judge(0.1, 0.1).verdict is Verdict.ACCEPTED
    assert off.judge(1e6, 1e6).verdict is Verdict.ACCEPTED


@given(st.lists(st.floats(0.1, 10.0), min_size=3, max_size=50), st.floats(-5, 5))
def test_z_scores_count_standard_deviations(earlier: list[float], shift: float) -> None:
    mean, deviation = fmean(earlier), pstdev(earlier)
    if deviation > 1e-3:
        assert z_score(mean + shift * deviation, earlier) == pytest.approx(shift, abs=1e-6)


def test_equal_values_make_rounding_no_spike() -> None:
    assert z_score(2.0 + 1e-9, [2.0] * 10) < 1
    assert z_score(2.1, [2.0] * 10) > 1000
    assert z_score(0.0, [0.0] * 10) == 0
