"""A power law through losses (Kaplan et al. 2020, equations 1.1 to 1.3; GPT-3, figure 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

LEAST_POINTS, LEAST_SPAN = 5, 4.0
"""Without so many points, over such a ratio of the largest to the smallest x, nothing is fitted."""
_EXPONENT = (0.005, 2.0)
_MOST_FLOOR = 0.999  # of the smallest loss
_AT_BOUND = 1.01


@dataclass(frozen=True)
class PowerLaw:
    """loss(x) = floor + (scale / x)^exponent.

    Attributes:
        floor: loss that no amount of x goes below, in the unit of the losses; 0 where the points ask for none.
        scale: in the unit of x.
        exponent: of the fall.
        points: fitted.
        error: root mean square of log(loss) - log(fit).
        low: smallest x that was fitted.
        high: largest.
    """

    floor: float
    scale: float
    exponent: float
    points: int
    error: float
    low: float
    high: float

    def at(self, x: float) -> float:
        """The loss at x > 0."""
        return self.floor + math.pow(self.scale / x, self.exponent)

    def curve(self, points: int = 40) -> list[tuple[float, float]]:
        """(x, loss) over what was fitted, evenly in log x."""
        return [(float(x), self.at(float(x))) for x in np.geomspace(self.low, self.high, points)]

    def formula(self, unit: str) -> str:
        """For people."""
        floor = f"{self.floor:.3f} + " if self.floor else ""
        return f"{floor}({self.scale:.2e} {unit} / x)^{self.exponent:.3f}"


def fit(points: Sequence[tuple[float, float]]) -> PowerLaw | None:
    """Least squares in log loss, with and without a floor; the floor stays if Akaike's criterion for few points asks
    for it (Hurvich and Tsai 1989).

    Args:
        points: (x, loss), both above 0.

    Returns:
        None for fewer than `LEAST_POINTS` different x, a span below `LEAST_SPAN`, or losses that no law describes
        better than their mean does.
    """
    xs = np.asarray([x for x, _ in points], np.float64)
    losses = np.asarray([loss for _, loss in points], np.float64)
    if len(set(xs.tolist())) < LEAST_POINTS or xs.max() / xs.min() < LEAST_SPAN:
        return None
    found = [one for one in (_fit(xs, losses, floor) for floor in (False, True)) if one is not None]
    criterion, law = min(found, key=lambda item: item[0], default=(math.inf, None))
    logs = np.log(losses)
    return law if criterion < _criterion(logs - logs.mean(), 1) else None


def _fit(
    xs: npt.NDArray[np.float64], losses: npt.NDArray[np.float64], with_floor: bool
) -> tuple[float, PowerLaw] | None:
    """(Akaike's criterion, law) of one form. Fitted are log c, b, floor of floor + c (x / middle)^-b."""
    middle = float(np.exp(np.log(xs).mean()))
    least = float(losses.min())
    ratio, logs = xs / middle, np.log(losses)

    def predict(parameters: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        floor = parameters[2] if with_floor else 0.0
        return np.asarray(floor + np.exp(parameters[0]) * ratio ** -parameters[1])

    start, low, high = [math.log(float(np.median(losses))), 0.1], [-np.inf, _EXPONENT[0]], [np.inf, _EXPONENT[1]]
    if with_floor:
        start, low, high = [start[0] - 0.7, 0.3, 0.5 * least], [*low, 0.0], [*high, _MOST_FLOOR * least]
    solved = least_squares(lambda p: np.log(predict(p)) - logs, start, bounds=(low, high))
    log_c, exponent = float(solved.x[0]), float(solved.x[1])
    if not _EXPONENT[0] * _AT_BOUND < exponent < _EXPONENT[1] / _AT_BOUND:
        return None
    floor = float(solved.x[2]) if with_floor else 0.0
    try:
        scale = middle * math.exp(log_c / exponent)
    except OverflowError:
        return None
    error = math.sqrt(float((solved.fun**2).mean()))
    law = PowerLaw(floor, scale, exponent, len(xs), error, float(xs.min()), float(xs.max()))
    return _criterion(solved.fun, len(start)), law


def _criterion(residuals: npt.NDArray[np.float64], parameters: int) -> float:
    """Akaike's, corrected for few points; inf where these are too few for so many parameters."""
    n, k = len(residuals), parameters + 1  # the spread is one, too
    if n - k - 1 <= 0:
        return math.inf
    squares = max(float((residuals**2).sum()), np.finfo(float).tiny)
    return n * math.log(squares / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other reaches with less x: the least loss for what is spent (Kaplan et al. 2020, 6.1)."""
    found: list[tuple[float, float]] = []
    for x, loss in sorted(points):
        if not found or loss < found[-1][1]:
            found.append((x, loss))
    return found
