"""Which checkpoints are kept."""

from __future__ import annotations

from collections.abc import Mapping


def retained(consumed: Mapping[int, int], keep_last: int, milestone: int | None) -> set[int]:
    """Steps whose checkpoints are kept: the newest, and milestones for ever.

    A milestone is the first checkpoint at or beyond a multiple of `milestone`. That it is the first is seen from those
    that are still there, as a first one never goes: what this function drops after each save leaves what it would have
    left of all that were ever written.

    Args:
        consumed: step -> what was trained on until then, which never falls from step to step.
        keep_last: how many of the newest are kept.
        milestone: in the unit of `consumed`; None for no milestones.
    """
    steps = sorted(consumed)
    kept = set(steps[-keep_last:])
    if milestone is not None:
        reached = 0
        for step in steps:
            multiple = consumed[step] // milestone
            if multiple > reached:
                kept.add(step)
                reached = multiple
    return kept
