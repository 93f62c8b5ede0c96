from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate import statistics as s

BOOLS = st.lists(st.booleans(), min_size=1, max_size=60)
FLOATS = st.lists(st.floats(-50, 50), min_size=2, max_size=30)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.27754), (5, 10, 0.23659, 0.76341), (10, 10, 0.72246, 1.0), (81, 263, 0.25525, 0.36620)],
)
def test_wilson_equals_values_worked_by_hand(successes: int, n: int, low: float, high: float) -> None:
    z = 1.959964
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = s.wilson(successes, n)
    assert found == pytest.approx((middle - reach, middle + reach), abs=1e-6)
    assert found == pytest.approx((low, high), abs=1e-4)


@given(BOOLS)
def test_a_proportion_lies_in_its_interval_whose_mirror_is_that_of_the_opposite(correct: list[bool]) -> None:
    found, opposite = s.proportion(correct), s.proportion([not one for one in correct])
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value <= found.high + 1e-12 <= 1 + 1e-9
    assert (1 - opposite.high, 1 - opposite.low) == pytest.approx((found.low, found.high), abs=1e-9)
    assert found.stderr == pytest.approx(math.sqrt(found.value * (1 - found.value) / len(correct)))


@given(FLOATS, st.floats(0.1, 10), st.floats(-5, 5))
def test_the_mean_moves_and_stretches_with_its_values(values: list[float], by: float, to: float) -> None:
    found, moved = s.mean(values), s.mean([by * value + to for value in values])
    assert moved.value == pytest.approx(by * found.value + to, abs=1e-6)
    assert moved.stderr == pytest.approx(by * found.stderr, abs=1e-6)


def test_mean_by_hand() -> None:
    found = s.mean([1, 2, 3, 6])
    assert (found.value, found.n) == (3, 4)
    assert found.stderr == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3 / 4))
    assert math.isnan(s.mean([5]).stderr)


@given(FLOATS)
def test_a_ratio_by_ones_is_the_mean(values: list[float]) -> None:
    found, plain = s.ratio(values, [1.0] * len(values)), s.mean(values)
    assert (found.value, found.stderr) == (pytest.approx(plain.value, abs=1e-9), pytest.approx(plain.stderr, abs=1e-9))


def test_the_ratios_error_is_what_a_bootstrap_finds() -> None:
    draw = random.Random(0)
    tokens = [draw.randint(20, 200) for _ in range(300)]
    nats = [count * draw.gauss(3, 0.4) for count in tokens]
    found = s.ratio(nats, tokens)
    x, y = np.array(nats), np.array(tokens)
    resampled = s.bootstrap(300, lambda drawn: float(x[drawn].sum() / y[drawn].sum()))
    assert found.value == pytest.approx(resampled.value)
    assert found.stderr == pytest.approx(resampled.stderr, rel=0.1)
    assert (found.low, found.high) == pytest.approx((resampled.low, resampled.high), rel=0.01)


def test_perplexity_keeps_order_and_stays_finite() -> None:
    nats = s.mean([2.0, 3.0, 4.0])
    found = s.perplexity_of(nats)
    assert found.value == pytest.approx(math.e**3)
    small = s.Estimate(3.0, 0.01, 2.98, 3.02, 50)
    assert s.perplexity_of(small).stderr == pytest.approx((math.exp(3.01) - math.exp(2.99)) / 2, rel=1e-3)
    assert found.low < found.value < found.high
    assert s.perplexity_of(s.scaled(nats, 1000)).value < math.inf


def test_mcnemar_by_hand() -> None:
    first = [True] * 8 + [False] * 2 + [True] * 5
    second = [False] * 8 + [True] * 2 + [True] * 5
    found = s.mcnemar(first, second)
    tail = sum(math.comb(10, k) for k in (0, 1, 2)) / 2**10
    assert (found.better, found.worse, found.n) == (8, 2, 15)
    assert found.difference == pytest.approx(6 / 15)
    assert found.p_value == pytest.approx(2 * tail)
    assert s.mcnemar(first, first).p_value == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=7))
@settings(max_examples=25)
def test_on_right_and_wrong_both_tests_are_one(pairs: list[tuple[bool, bool]]) -> None:
    """Permuting the pairs in all ways is what McNemar's binomial counts."""
    first, second = zip(*pairs, strict=True)
    exact, permuted = s.mcnemar(first, second), s.permutation(first, second)
    assert permuted.p_value == pytest.approx(exact.p_value, abs=1e-9)
    assert (permuted.difference, permuted.better, permuted.worse) == (exact.difference, exact.better, exact.worse)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=2, max_size=6))
@settings(max_examples=15)
def test_the_permutation_test_has_no_direction(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    one, other = s.permutation(first, second), s.permutation(second, first)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.difference == pytest.approx(-other.difference)
    assert 0 < one.p_value <= 1


def test_a_clear_difference_is_seen_and_none_is_not() -> None:
    draw = random.Random(1)
    first = [draw.gauss(0, 1) for _ in range(200)]
    assert s.permutation(first, [value - 0.3 + draw.gauss(0, 0.5) for value in first]).p_value < 0.01
    assert s.permutation(first, [value + draw.gauss(0, 0.5) for value in first]).p_value > 0.01


def test_unequal_runs_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="1 and 2 examples"):
        s.mcnemar([True], [True, False])
    with pytest.raises(ValueError, match="0 and 0 examples"):
        s.permutation([], [])


@given(BOOLS)
def test_matthews_is_one_with_itself_and_minus_one_with_its_opposite(truth: list[bool]) -> None:
    varied = len(set(truth)) == 2
    assert s.matthews(truth, truth) == pytest.approx(1 if varied else 0)
    assert s.matthews(truth, [not one for one in truth]) == pytest.approx(-1 if varied else 0)


def test_matthews_equals_the_librarys() -> None:
    from sklearn.metrics import matthews_corrcoef

    draw = random.Random(2)
    truth = [draw.random() < 0.7 for _ in range(100)]
    predicted = [draw.random() < 0.4 or one for one in truth]
    assert s.matthews(truth, predicted) == pytest.approx(matthews_corrcoef(truth, predicted))
