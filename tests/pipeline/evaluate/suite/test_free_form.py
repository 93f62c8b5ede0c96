from __future__ import annotations

from typing import Any, cast

import pytest
from hand_scorer import HandScorer, hand_scorer, uniform
from small_model import tokenizer_bytes

from data_prep.configfile import validate
from data_prep.tokenizer import Tokenizer
from pipeline.config.evaluate_suite import FreeFormTask
from pipeline.evaluate.suite.free_form import score_free_form
from pipeline.evaluate.suite.prompts import Questions

ROWS = [
    {"question": "who sees the moon", "answers": ["a dog", "it"]},
    {"question": "who sees the road", "answers": ["it"]},
    {"question": "who sees it", "answers": ["a dog"]},
]


def task(**changes: Any) -> FreeFormTask:
    data = {
        "kind": "free-form",
        "about": {"title": "t", "licence": "l"},
        "data": {"path": "x", "format": "jsonl"},
        "context": "Q: {question}\n\nA:",
        "metrics": ["exact"],
        "decoding": {"method": "forced"},
        **changes,
    }
    return validate(FreeFormTask, data, "test")


def test_forced_asks_for_the_first_answer_and_its_end() -> None:
    newline = Tokenizer(tokenizer_bytes()).encode("\n")[0]
    for cost, exact in ((0.1, 1.0), (3.0, 0.0)):
        scorer = hand_scorer(lambda before, id, cost=cost: cost if id == newline else 0.1)  # type: ignore[misc]
        found = score_free_form(scorer, task(), Questions("task", "", ROWS, [0, 1, 2], (0,), (1,)))
        assert found.scores[0].estimate.value == exact
        assert found.scores[0].floors == {"majority": pytest.approx(2 / 3)}
    seen = [scorer.tokenizer.decode([*context, *ids]) for context, ids in cast(HandScorer, scorer).seen]
    assert seen[0] == "<|endoftext|>Q: who sees the moon\n\nA: a dog\n"
    assert scorer.tokenizer.decode(cast(HandScorer, scorer).seen[0][1]) == " a dog\n"


def test_contexts_that_are_cut_are_counted() -> None:
    found = score_free_form(
        hand_scorer(uniform(1.0), length=4), task(), Questions("task", "", ROWS, [0, 1, 2], (0,), (1,))
    )
    assert found.scores[0].definition["contexts_cut"] == 3
