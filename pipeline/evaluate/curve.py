"""A suite on all checkpoints of a pretraining run: zero-shot scores over training, as one curve (GPT-1, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from pipeline.config.schema import EvaluateConfig
from pipeline.evaluate.checkpoints import checkpoints_in
from pipeline.evaluate.loading import LoadedModel
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.panels import Panel, draw
from pipeline.evaluate.ranks import Ranks
from pipeline.evaluate.suite.run import score_suite
from pipeline.evaluate.suite.scores import Score

PLOT = "curve.png"


@dataclass(frozen=True)
class Point:
    """The scores of one checkpoint.

    Attributes:
        step: optimizer step.
        tokens: tokens consumed.
        scores: of the suite.
    """

    step: int
    tokens: int
    scores: Sequence[Score]


def score_checkpoints(config: EvaluateConfig, ranks: Ranks) -> tuple[list[Point], LoadedModel | None]:
    """The suite on each checkpoint, and the last of them; on ranks other than 0 nothing.

    Raises:
        UserError: there is no suite, or a checkpoint or set cannot be used.
    """
    if config.suite is None:
        raise UserError("a curve over checkpoints needs tasks", where="config", fix="give a suite: section")
    points: list[Point] = []
    model: LoadedModel | None = None
    for path in checkpoints_in(config.checkpoint):
        scorer = ranks.together(partial(Scorer, path, config.batch_tokens, ranks))
        if not ranks.is_main:
            scorer.serve()
            continue
        model = scorer.loaded
        with scorer:
            print(f"{config.run.name}: {Path(path).name}", flush=True)
            points.append(Point(model.step, model.consumed, score_suite(scorer, config.suite, None)))
    return points, model


def relative(score: Score) -> float | None:
    """(score - chance) / (best published number - chance), as GPT-1 has it; None where one is missing."""
    published = [value for one in score.references for value in one.values.values()]
    if "chance" not in score.floors or not published:
        return None
    chance = score.floors["chance"]
    return (score.estimate.value - chance) / (max(published) - chance) if max(published) > chance else None


def as_data(points: Sequence[Point]) -> list[dict[str, Any]]:
    """For `result.json`."""
    return [
        {
            "step": point.step,
            "tokens": point.tokens,
            "scores": [{**score.as_data(), "relative": relative(score)} for score in point.scores],
        }
        for point in points
    ]


def plot(points: Sequence[Point], folder: Path, name: str) -> None:
    """The tasks' own metrics over tokens, with their 95 % intervals and chance, to `curve.png`."""
    lines: dict[str, list[tuple[int, Score]]] = {}
    for point in points:
        for score in point.scores:
            if score.main:
                lines.setdefault(score.key, []).append((point.tokens, score))
    panels = [
        Panel(
            key,
            [tokens for tokens, _ in line],
            [score.estimate.value for _, score in line],
            [score.estimate.low for _, score in line],
            [score.estimate.high for _, score in line],
            line[-1][1].floors.get("chance"),
        )
        for key, line in lines.items()
    ]
    draw(panels, folder / PLOT, name, "tokens")
