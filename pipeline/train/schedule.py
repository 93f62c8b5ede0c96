"""Learning rate as a pure function of what was consumed."""

from __future__ import annotations

import math

from pipeline.config.schema import ScheduleConfig


def learning_rate(consumed: int, peak: float, schedule: ScheduleConfig, total: int) -> float:
    """Learning rate of the update that brings what was consumed to `consumed`.

    Linear warm-up from 0, then a decay to `final_ratio` of the peak, constant from there on (GPT-3 B: cosine to 10 %
    over 260 billion tokens, warm-up over 375 million). Cosine and linear decay begin when the warm-up ends; "wsd" stays
    at the peak before its linear decay (MiniCPM 4).

    Args:
        consumed: units (tokens, or examples in fine-tuning) consumed when the update is done, so that the first update
            is not wasted on a rate of 0.
        peak: highest learning rate.
        schedule: gives the shape.
        total: units of the whole run.
    """
    warmup, end = schedule.bounds(total)
    if consumed < warmup:
        return peak * consumed / warmup
    if schedule.kind == "constant":
        return peak
    begin = warmup if schedule.decay_share is None else max(warmup, end - round(schedule.decay_share * end))
    progress = min(1.0, max(0, consumed - begin) / max(1, end - begin))
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if schedule.kind == "cosine" else 1 - progress
    return peak * (schedule.final_ratio + (1 - schedule.final_ratio) * shape)
