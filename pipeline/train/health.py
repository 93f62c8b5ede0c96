"""Whether a step was healthy: a pure function of the losses and gradient norms until then, equal on every rank."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from pipeline.config.health import HealthConfig

_ROUNDING = 1e-6
"""Share of the mean below which a standard deviation is rounding noise."""


class Verdict(Enum):
    """What becomes of a step."""

    ACCEPTED = "accepted"
    LEFT_OUT = "left out"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Judgement:
    """A verdict and, for people, its reason."""

    verdict: Verdict
    reason: str = ""


def z_score(value: float, earlier: Collection[float]) -> float:
    """How many standard deviations a value lies above the mean of earlier ones."""
    mean = math.fsum(earlier) / len(earlier)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in earlier) / len(earlier))
    return (value - mean) / max(deviation, _ROUNDING * abs(mean), math.ulp(0.0))


class Detector:
    """Judges step after step.

    A step whose loss or gradient norm is not finite has changed no weight: engines leave such an update out. A finite
    spike has; both `config.max_skipped` of the former in a row and one of the latter ask to go back. An fp16 overflow
    is a routine (the loss scale falls) and says nothing, unless the loss itself is not finite or the scale cannot fall.
    The windows are as long as the process lives: a restart begins with empty ones.

    Attributes:
        skipped_in_row: updates left out since the last accepted step.
    """

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self._losses: deque[float] = deque(maxlen=config.spike_window)
        self._norms: deque[float] = deque(maxlen=config.spike_window)
        self.skipped_in_row = 0

    def judge(self, loss: float, grad_norm: float, routine_overflow: bool = False) -> Judgement:
        """The verdict on the next step.

        Args:
            loss: mean loss of the step over all ranks.
            grad_norm: global, before clipping.
            routine_overflow: fp16 gradients overflowed, and the loss scale was lowered for it.
        """
        if routine_overflow and math.isfinite(loss):
            return Judgement(Verdict.ACCEPTED)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self.skipped_in_row += 1
            what = f"loss {loss:g}, gradient norm {grad_norm:g}"
            if self.skipped_in_row >= self._config.max_skipped:
                return Judgement(Verdict.ROLL_BACK, f"{self.skipped_in_row} updates in a row left out ({what})")
            return Judgement(Verdict.LEFT_OUT, what)
        spike = self._spike(loss, grad_norm)
        if spike is not None:
            return Judgement(Verdict.ROLL_BACK, spike)
        self._losses.append(loss)
        self._norms.append(grad_norm)
        self.skipped_in_row = 0
        return Judgement(Verdict.ACCEPTED)

    def went_back(self) -> None:
        """The run continues from a checkpoint; what was accepted still says what is usual."""
        self.skipped_in_row = 0

    def _spike(self, loss: float, grad_norm: float) -> str | None:
        bound = self._config.spike_z
        if bound is None or len(self._losses) < self._config.spike_window:
            return None
        for name, value, earlier in (("loss", loss, self._losses), ("gradient norm", grad_norm, self._norms)):
            z = z_score(value, earlier)
            if z > bound:
                return f"{name} {value:.4g} is {z:.1f} standard deviations above its last {len(earlier)}"
        return None
