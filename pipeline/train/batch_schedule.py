"""Global batch as a pure function of what was consumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pipeline.config.schema import BatchConfig, BatchRampConfig


@dataclass(frozen=True)
class BatchSchedule:
    """How many samples each optimizer step takes.

    With a ramp the batch lies on the line from `ramp.start` samples at 0 to `full` samples at `ramp.tokens` (GPT-3 B),
    rounded to the nearest whole number of passes and never less than one.

    Attributes:
        full: samples of a global batch behind the ramp; a multiple of `per_pass`.
        per_pass: samples of one micro-batch on every data-parallel rank.
        units_per_sample: tokens that a sample counts for, or 1.
        ramp: None for the full batch from the first step on.
    """

    full: int
    per_pass: int
    units_per_sample: int
    ramp: BatchRampConfig | None = None

    @classmethod
    def of(cls, train: BatchConfig, data_parallel: int, units_per_sample: int, ramp: BatchRampConfig | None) -> Self:
        """The schedule of a configuration on so many data-parallel ranks."""
        return cls(train.global_batch, train.micro_batch * data_parallel, units_per_sample, ramp)

    def ramps_at(self, consumed: int) -> bool:
        """Whether the step that follows `consumed` units still lies on the ramp."""
        return self.ramp is not None and consumed < self.ramp.tokens

    def samples(self, consumed: int) -> int:
        """Samples of the step that follows `consumed` units."""
        if self.ramp is None or consumed >= self.ramp.tokens:
            return self.full
        # The line and its rounding in whole numbers: no rank may round another way.
        line = self.ramp.start * self.ramp.tokens + (self.full - self.ramp.start) * consumed
        pass_ = self.per_pass * self.ramp.tokens
        return max(1, (2 * line + pass_) // (2 * pass_)) * self.per_pass

    def steps(self, units: int) -> Iterator[int]:
        """What was consumed after each step of the ramp, until `units` are."""
        consumed = 0
        while consumed < units and self.ramps_at(consumed):
            consumed += self.samples(consumed) * self.units_per_sample
            yield consumed

    def length(self, units: int) -> tuple[int, int]:
        """(steps, units consumed in them) of a run of `units`, rounded up to whole steps."""
        on_ramp = list(self.steps(units))
        done = on_ramp[-1] if on_ramp else 0
        per_step = self.full * self.units_per_sample
        behind = -(-max(0, units - done) // per_step)
        return len(on_ramp) + behind, done + behind * per_step

    def whole_steps(self, units: int) -> int:
        """`units` rounded up to whole steps of the full batch: the length that schedules count with.

        It does not depend on where the steps of a ramp end, and so not on `per_pass`.
        """
        per_step = self.full * self.units_per_sample
        return -(-units // per_step) * per_step

    def describe(self, units: int) -> str | None:
        """One line on the ramp for people, its floor included; None without one."""
        if self.ramp is None:
            return None
        on_ramp = sum(1 for _ in self.steps(units))
        raised = "" if self.ramp.start >= self.per_pass else f" (train.batch_ramp.start {self.ramp.start} is less)"
        return (
            f"batch ramp: {self.samples(0):,} to {self.full:,} samples over {self.ramp.tokens:,} tokens in {on_ramp:,} "
            f"steps, in whole passes of {self.per_pass} samples, which is the smallest batch{raised}"
        )
