"""Scores the tasks of a suite, writes what each example got, and shows the numbers beside published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.evaluate_suite import (
    ChoiceTask,
    FreeFormTask,
    HeuristicTask,
    LanguageModelTask,
    PromptedTask,
    SuiteConfig,
)
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.panels import draw
from pipeline.evaluate.suite.acceptability import score_acceptability
from pipeline.evaluate.suite.choices import score_choices
from pipeline.evaluate.suite.compare import EXAMPLES
from pipeline.evaluate.suite.formats import place, read_rows
from pipeline.evaluate.suite.free_form import score_free_form
from pipeline.evaluate.suite.language_model import score_text
from pipeline.evaluate.suite.last_word import score_last_words
from pipeline.evaluate.suite.prompts import Questions, drawn
from pipeline.evaluate.suite.scores import Score, TaskResult
from pipeline.evaluate.suite.sets import present_tasks, task_digest
from pipeline.evaluate.suite.shot_curves import PLOT, shot_curves
from pipeline.evaluate.suite.show import markdown

TABLE = "scores.md"
_LIMIT_SEED = 1234
_FIELDS = {
    "choice": ("choices", "answer"),
    "free-form": ("answers",),
    "last-word": ("context", "answers"),
    "acceptability": ("sentence", "label"),
}
"""What the rows of a kind must have."""


def score_task(scorer: Scorer, config: SuiteConfig, name: str) -> TaskResult:
    """Score one task.

    Raises:
        UserError: its set cannot be used.
    """
    task = config.definitions[name]
    if isinstance(task, LanguageModelTask):
        return score_text(scorer, name, task, config.root, config.limit)
    pool = read_rows(config.root, task.data)
    gone = [field for field in _FIELDS[task.kind] if field not in pool[0]]
    if gone:
        raise UserError(
            f"the rows of the format {task.data.format!r} have no {' and no '.join(gone)}",
            where=f"task {name}",
            fix=f"a task of the kind {task.kind} needs a format with it",
        )
    asked = list(range(len(pool)))
    if config.limit is not None and config.limit < len(pool):
        asked = sorted(drawn(len(pool), config.limit, _LIMIT_SEED, f"limit:{name}"))
    counts: tuple[int, ...] = (0,)
    if isinstance(task, PromptedTask):
        counts = task.shots.counts
        if config.shots is not None and max(counts) > 0:
            counts = config.shots
    questions = Questions(name, config.root, pool, asked, counts, config.seeds)
    if isinstance(task, ChoiceTask):
        return score_choices(scorer, task, questions)
    if isinstance(task, FreeFormTask):
        return score_free_form(scorer, task, questions)
    if isinstance(task, HeuristicTask):
        return score_acceptability(scorer, task, questions)
    return score_last_words(scorer, task, questions)


def score_suite(scorer: Scorer, config: SuiteConfig, folder: Path | None) -> list[Score]:
    """Score all tasks that are there, in order.

    Args:
        scorer: the model.
        config: what to score.
        folder: the run's; `examples/<task>.jsonl` in it tells what each example got. None writes nothing.

    Raises:
        UserError: a set is missing or cannot be used.
    """
    present, left_out = present_tasks(config)
    for name, file in left_out.items():
        print(f"  {name}: left out, {file} is not there", flush=True)
    scores: list[Score] = []
    for name in present:
        found = score_task(scorer, config, name)
        scores += found.scores
        if folder is not None:
            lines = b"".join(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for row in found.examples)
            store.write_bytes(str(folder / EXAMPLES / f"{name}.jsonl"), lines)
    if folder is not None:
        store.write_bytes(str(folder / TABLE), markdown(scores, config.limit).encode())
        curves = shot_curves(scores)
        if curves:
            draw(curves, folder / PLOT, "scores over solved examples", "solved examples asked for")
    return scores


def described(config: SuiteConfig, scores: list[Score]) -> dict[str, Any]:
    """For `result.json`: every number with its definition, and what was left out."""
    present, left_out = present_tasks(config)
    abouts = {name: config.definitions[name].about.model_dump(mode="json") for name in present}
    return {
        "limit": config.limit,
        "is_a_result": config.limit is None,
        "sets": {
            name: {
                **abouts[name],
                "path": place(config.root, config.definitions[name].data),
                "digest": task_digest(config, name),
            }
            for name in present
        },
        "left_out": left_out,
        "scores": [score.as_data() for score in scores],
    }
