"""How sure a score is, and whether two scores of the same examples differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95
"""Of every interval."""
RESAMPLES = 1000
"""Of a bootstrap or permutation test."""
_SEED = 1234
_BATCH = 50
_EXACT_PAIRS = 12
"""Up to so many pairs a permutation test goes through all 2^n sign changes."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A statistic with its uncertainty.

    Attributes:
        value: the statistic.
        stderr: its standard error; nan where there is one example only.
        low: lower end of the interval of `CONFIDENCE`.
        high: upper end.
        n: examples it was made from.
    """

    value: float
    stderr: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """Two runs on the same examples.

    Attributes:
        difference: first minus second mean.
        stderr: standard error of the difference.
        p_value: probability of such a difference, or a larger one, if the runs did not differ; two-sided.
        test: "McNemar, exact" or "permutation".
        n: examples.
        better: examples on which the first is better.
        worse: examples on which the second is.
    """

    difference: float
    stderr: float
    p_value: float
    test: str
    n: int
    better: int
    worse: int


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927), which stays within [0, 1] also at 0 of n and n of n.

    Raises:
        ValueError: not 0 <= successes <= n, or n is 0.
    """
    found = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def proportion(correct: Sequence[bool]) -> Estimate:
    """Share of the true ones; standard error sqrt(p (1 - p) / n), interval after Wilson.

    Raises:
        ValueError: there are none.
    """
    n, successes = len(correct), sum(map(bool, correct))
    low, high = wilson(successes, n)
    p = successes / n
    return Estimate(p, math.sqrt(p * (1 - p) / n), low, high, n)


def mean(values: Sequence[float]) -> Estimate:
    """Mean; standard error s / sqrt(n) with s of n - 1 degrees of freedom, interval after Student.

    Raises:
        ValueError: there are none.
    """
    data = np.asarray(values, np.float64)
    if not len(data):
        raise ValueError("no values")
    value = float(data.mean())
    if len(data) == 1:
        return Estimate(value, math.nan, math.nan, math.nan, 1)
    error = float(data.std(ddof=1) / math.sqrt(len(data)))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(data) - 1)) * error
    return Estimate(value, error, value - reach, value + reach, len(data))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Sum of the numerators by the sum of the denominators, as nats per token over windows of text.

    The standard error is that of a ratio estimator (delta method): with residuals e_i = x_i - r y_i,
    sqrt(n / (n - 1) sum e_i^2) / sum y_i.

    Raises:
        ValueError: there are none, or the denominators add up to 0.
    """
    x, y = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    total, n = float(y.sum()), len(x)
    if n == 0 or total == 0:
        raise ValueError("nothing to divide by")
    value = float(x.sum()) / total
    if n == 1:
        return Estimate(value, math.nan, math.nan, math.nan, 1)
    error = math.sqrt(n / (n - 1) * float(((x - value * y) ** 2).sum())) / total
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return Estimate(value, error, value - reach, value + reach, n)


def perplexity_of(nats: Estimate) -> Estimate:
    """exp of an estimate in nats; standard error by the delta method, interval by its ends."""
    value = bounded_exp(nats.value)
    return Estimate(value, value * nats.stderr, bounded_exp(nats.low), bounded_exp(nats.high), nats.n)


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """An estimate in another unit; `factor` > 0."""
    return Estimate(
        estimate.value * factor, estimate.stderr * factor, estimate.low * factor, estimate.high * factor, estimate.n
    )


def bounded_exp(nats: float) -> float:
    """exp, at most the largest power that JSON and MLflow carry."""
    return math.exp(min(700.0, nats))


def bootstrap(examples: int, statistic: Callable[[npt.NDArray[np.int64]], float]) -> Estimate:
    """A statistic of examples that has no closed form, as corpus BLEU or Matthews' correlation.

    Args:
        examples: how many there are.
        statistic: indices of the drawn examples -> the statistic over them.

    Returns:
        Standard error and percentile interval over `RESAMPLES` draws with replacement, always the same ones.
    """
    every = np.arange(examples)
    value = float(statistic(every))
    if examples == 1:
        return Estimate(value, math.nan, math.nan, math.nan, 1)
    generator = np.random.default_rng(_SEED)
    drawn = np.array([statistic(generator.integers(0, examples, examples)) for _ in range(RESAMPLES)])
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(drawn.std(ddof=1)), float(low), float(high), examples)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """McNemar's exact test: of the examples on which two runs differ, each is right on half, if they are equally good.

    Raises:
        ValueError: they are not as many, or none.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    _same_length(a, b)
    better, worse = int((a & ~b).sum()), int((b & ~a).sum())
    p_value = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    estimate = mean((a.astype(float) - b.astype(float)).tolist())
    return Paired(estimate.value, estimate.stderr, p_value, "McNemar, exact", len(a), better, worse)


def permutation(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Paired permutation test of the difference of means: each pair may as well stand the other way round.

    All 2^n ways up to 12 pairs, else `RESAMPLES` drawn ones, always the same.

    Raises:
        ValueError: they are not as many, or none.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    _same_length(a, b)
    difference = a - b
    estimate = mean(difference.tolist())
    if len(a) == 1 or not difference.any():
        p_value = 1.0
    else:
        resamples = np.inf if len(a) <= _EXACT_PAIRS else RESAMPLES
        found = stats.permutation_test(
            (difference,),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=resamples,
            batch=_BATCH,
            rng=np.random.default_rng(_SEED),
        )
        p_value = float(found.pvalue)
    return Paired(
        estimate.value, estimate.stderr, p_value, "permutation", len(a), int((a > b).sum()), int((b > a).sum())
    )


def matthews(truth: Sequence[bool], predicted: Sequence[bool]) -> float:
    """Matthews' correlation of two binary sequences; 0 where one of them is constant (CoLA's metric)."""
    t, p = np.asarray(truth, bool), np.asarray(predicted, bool)
    counts = [int((x & y).sum()) for x, y in ((t, p), (~t, ~p), (~t, p), (t, ~p))]
    tp, tn, fp, fn = counts
    bottom = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / bottom if bottom else 0.0


def _same_length(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> None:
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} examples cannot be paired")
