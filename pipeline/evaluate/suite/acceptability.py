"""GPT-1's heuristic for CoLA (5, figure 2): a sentence is good if its mean token log-probability is high."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_prep.errors import UserError
from pipeline.config.evaluate_suite import HeuristicTask
from pipeline.evaluate.continuation import score_continuations
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.statistics import bootstrap, matthews, proportion
from pipeline.evaluate.suite.formats import read_rows
from pipeline.evaluate.suite.prompts import Questions, drawn
from pipeline.evaluate.suite.published import Row
from pipeline.evaluate.suite.scores import Score, TaskResult, referenced

TUNING_SENTENCES = 1000
"""At most; drawn by seed."""
_SEED = 1234


def best_threshold(values: Sequence[float], labels: Sequence[bool]) -> float:
    """The threshold with the highest Matthews correlation of `value >= threshold` with labels; the lowest of equals.

    Raises:
        ValueError: there are no values.
    """
    order = np.argsort(np.asarray(values, np.float64), kind="stable")
    sorted_values, truth = np.asarray(values, np.float64)[order], np.asarray(labels, bool)[order]
    if not len(order):
        raise ValueError("no values")
    n, positives = len(truth), int(truth.sum())
    # At threshold i the sentences from number i on are predicted acceptable.
    true_positives = positives - np.concatenate([[0], np.cumsum(truth)[:-1]])
    predicted = n - np.arange(n)
    top = true_positives * n - predicted * positives
    bottom = np.sqrt(1.0 * predicted * (n - predicted) * positives * (n - positives))
    correlation = np.divide(top, bottom, out=np.zeros(n), where=bottom > 0)
    first_of_its_value = np.concatenate([[True], np.diff(sorted_values) > 0])
    return float(sorted_values[int(np.argmax(np.where(first_of_its_value, correlation, -2.0)))])


def score_acceptability(scorer: Scorer, task: HeuristicTask, questions: Questions) -> TaskResult:
    """Matthews' correlation and accuracy with the threshold that is best on the tuning set."""
    tuning = read_rows(questions.root, task.tuning)
    tuning = [tuning[i] for i in sorted(drawn(len(tuning), TUNING_SENTENCES, _SEED, f"{questions.name}:tuning"))]
    threshold = best_threshold(
        _mean_log_probabilities(scorer, f"{questions.name}, tuning", tuning), _labels(questions.name, tuning)
    )
    values = _mean_log_probabilities(scorer, questions.name, questions.rows)
    labels = _labels(questions.name, questions.rows)
    predicted = [value >= threshold for value in values]
    truth, guess = np.array(labels), np.array(predicted)
    right = [one == other for one, other in zip(labels, predicted, strict=True)]
    definition = {
        "version": task.version,
        "scored": "mean log-probability of all tokens of the sentence",
        "prefix": "<|endoftext|>",
        "threshold": threshold,
        "tuning_sentences": len(tuning),
    }
    share = sum(labels) / len(labels)
    floors = {"majority": max(share, 1 - share)}
    name, references = questions.name, task.references
    return TaskResult(
        [
            Score(
                name,
                "",
                "matthews",
                bootstrap(len(labels), lambda drawn: matthews(truth[drawn].tolist(), guess[drawn].tolist())),
                definition,
                {"chance": 0.0},
                referenced(references, "matthews"),
            ),
            Score(
                name, "", "accuracy", proportion(right), definition, floors, referenced(references, "accuracy"), False
            ),
        ],
        [
            {"id": number, "variant": "", "correct": hit, "value": value}
            for number, hit, value in zip(questions.asked, right, values, strict=True)
        ],
    )


def _labels(name: str, rows: Sequence[Row]) -> list[bool]:
    labels = [row.get("label") for row in rows]
    if not all(label in (0, 1) for label in labels):
        raise UserError("a label is neither 0 nor 1", where=f"task {name}", fix="correct the set or its data.options")
    return [bool(label) for label in labels]


def _mean_log_probabilities(scorer: Scorer, title: str, rows: Sequence[Row]) -> list[float]:
    encoded = scorer.tokenizer.encode_batch([str(row["sentence"]) for row in rows])
    found = score_continuations(scorer, ((ids, 0) for ids in encoded), title)
    return [one.logprob / len(one.tokens) for one in found]
