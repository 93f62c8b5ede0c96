"""Scores that a model gets while it trains, on tasks that it is not trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.train.engine import Engine


@dataclass(frozen=True)
class Probed:
    """What a model got at one step.

    Attributes:
        metrics: name -> number, for the tracker.
        main: names of those that people are told; the others say more about them.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    main: tuple[str, ...] = ()


class Probe(Protocol):
    """Scores the model that an engine trains, and leaves no trace in it.

    Attributes:
        title: what is scored, for people.
        name: the same in names of metrics.
        every: steps between scores.
    """

    title: str
    name: str
    every: int

    def score(self, engine: Engine) -> Probed:
        """Scores of the weights as they are; collective, on ranks other than 0 nothing.

        Raises:
            UserError: a task cannot be scored (on every rank).
        """
