from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from hand_scorer import HandScorer, hand_scorer, uniform

from data_prep.configfile import validate
from data_prep.errors import UserError
from pipeline.config.evaluate_suite import ChoiceTask, Reference
from pipeline.evaluate.statistics import Estimate
from pipeline.evaluate.suite.choices import score_choices
from pipeline.evaluate.suite.prompts import Prompter, Questions
from pipeline.evaluate.suite.shot_curves import shot_curves
from pipeline.evaluate.suite.show import rows as rows_of

ROWS = [
    {"question": "who sees the moon", "choices": ["a dog", "the old man", "it"], "answer": 1},
    {"question": "who sees the road", "choices": ["nobody", "a dog", "my sister"], "answer": 0},
    {"question": "who sees it", "choices": ["a dog", "nobody", "it"], "answer": 1},
]


def task(**changes: Any) -> ChoiceTask:
    data = {
        "kind": "choice",
        "about": {"title": "t", "licence": "l"},
        "data": {"path": "x", "format": "jsonl"},
        "context": "{question}?",
        **changes,
    }
    return validate(ChoiceTask, data, "test")


def ask(scorer: Any, one: ChoiceTask, counts: tuple[int, ...] = (0,), seeds: tuple[int, ...] = (1,)) -> Any:
    return score_choices(scorer, one, Questions("task", "", ROWS, range(len(ROWS)), counts, seeds))


def test_each_normalisation_by_hand() -> None:
    scorer = hand_scorer(uniform(1.0))
    length = {
        text: len(scorer.tokenizer.encode(f"x {text}")) - len(scorer.tokenizer.encode("x"))
        for row in ROWS
        for text in row["choices"]
    }
    assert len(set(length.values())) > 1, "the answers need different lengths"
    found = ask(scorer, task(normalization="sum"))
    values = {score.metric: score.estimate.value for score in found.scores}

    # Every token costs one nat: the sum likes the answer with the fewest tokens, bytes and characters the one whose
    # tokens hold most of them; per token all are equal, and the first of equals is taken.
    def best(value: Any) -> float:
        return sum(max(row["choices"], key=value) == row["choices"][row["answer"]] for row in ROWS) / len(ROWS)

    assert values["accuracy"] == best(lambda text: -length[text])
    assert values["accuracy_char"] == values["accuracy_byte"] == best(lambda text: -length[text] / len(text))
    assert values["accuracy_token"] == best(lambda text: 0)
    assert "accuracy_unconditional" not in values
    assert found.scores[0].floors == {"chance": pytest.approx(1 / 3), "majority": pytest.approx(2 / 3)}
    for example in found.examples:
        assert example["nll"] == example["tokens"] == [length[text] for text in ROWS[example["id"]]["choices"]]


def test_the_answers_own_likelihood_is_taken_out() -> None:
    """`it` is cheap everywhere; the right answers are cheaper behind their question than behind "Answer:"."""
    right = [row["choices"][row["answer"]] for row in ROWS]

    def cost(before: Any, id: int) -> float:
        text = scorer.tokenizer.decode([*before[1:], id])
        if text.endswith(" it"):
            return 0.1
        asked = text.startswith("who")
        return 1.0 if asked and any(text.rstrip().endswith(one[: len(one)]) for one in right) else 2.0

    scorer = hand_scorer(cost)
    found = ask(scorer, task(normalization="unconditional", answer_context="Answer:"))
    values = {score.metric: score.estimate.value for score in found.scores}
    assert values["accuracy"] == 1.0
    assert values["accuracy_sum"] < 1.0
    with pytest.raises(UserError, match='normalization "unconditional" needs answer_context'):
        task(normalization="unconditional")


def test_solved_examples_stand_before_the_question_and_are_others() -> None:
    scorer = hand_scorer(uniform(1.0))
    one = task(shots={"separator": "\n", "header": "Say who. "})
    found = ask(scorer, one, counts=(0, 2), seeds=(1, 2))
    variants = [score.variant for score in found.scores if score.main]
    assert variants == ["0-shot", "2-shot/seed-1", "2-shot/seed-2"]
    seen = cast(HandScorer, scorer).seen
    texts = [scorer.tokenizer.decode([*context[1:], *continuation]) for context, continuation in seen]
    assert texts[:3] == [f"Say who. who sees the moon? {text}" for text in ROWS[0]["choices"]]
    two = texts[9:12]
    assert all(
        text.startswith("Say who. who sees") and text.endswith(f"who sees the moon? {choice}")
        for text, choice in zip(two, ROWS[0]["choices"], strict=True)
    )
    solved = {"who sees the road? nobody\n", "who sees it? nobody\n"}
    middle = two[0].removeprefix("Say who. ").removesuffix("who sees the moon? a dog")
    assert {f"{line}\n" for line in middle.splitlines()} == solved
    definition = found.scores[0].definition
    assert (definition["shots"], definition["seed"], definition["normalization"]) == (0, None, "sum")
    assert found.scores[-1].definition["seed"] == 2


def test_examples_that_do_not_fit_are_left_out_and_counted() -> None:
    one = task(shots={"separator": "\n"})
    room = 14
    scorer = hand_scorer(uniform(1.0), length=room)
    found = ask(scorer, one, counts=(2,))
    used = {example["shots"] for example in found.examples}
    assert used <= {0, 1}
    assert found.scores[0].definition["shots_used_mean"] == sum(e["shots"] for e in found.examples) / 3


def test_questions_whose_context_is_cut_are_counted() -> None:
    rows = [{"question": "the cat sees the moon " * n, "choices": ["it", "a dog"], "answer": 0} for n in (1, 9, 9)]
    scorer = hand_scorer(uniform(1.0), length=16)
    found = score_choices(scorer, task(), Questions("task", "", rows, [0, 1, 2], (0,), (1,)))
    assert found.scores[0].definition["contexts_cut"] == 2
    assert rows_of(found.scores)[0][1] == "0-shot (2 cut)"


def test_a_question_is_none_of_its_examples_also_if_it_stands_there_twice() -> None:
    rows = [*ROWS, dict(ROWS[0])]
    prompter = Prompter(task(), Questions("task", "", rows, [0], (3,), (1,)))
    for number, row in enumerate(rows):
        found = prompter.shots(number, 3, 1)
        assert len(found) == (2 if row == ROWS[0] else 3)
        assert not any(row["question"] + "?" in shot for shot in found)
        assert prompter.shots(number, 2, 1) == found[:2]
        assert prompter.shots(number, 9, 1)[:2] == found[:2]


def test_a_long_answer_is_scored_whole() -> None:
    rows = [{"question": "q", "choices": ["a dog sees the moon and a boat and two apples", "it"], "answer": 0}]
    scorer = hand_scorer(uniform(1.0), length=4)
    found = score_choices(scorer, task(), Questions("task", "", rows, [0], (0,), (1,)))
    whole = [
        len(scorer.tokenizer.encode(f"q? {text}")) - len(scorer.tokenizer.encode("q?")) for text in rows[0]["choices"]
    ]
    assert whole[0] > 4
    assert found.examples[0]["nll"] == found.examples[0]["tokens"] == whole


def test_published_numbers_stand_beside_the_same_shots() -> None:
    few = Reference(source="s", metric="accuracy", shots=20, values={"m": 0.5})
    zero = Reference(source="s", metric="accuracy", shots=0, values={"m": 0.4})
    found = ask(hand_scorer(uniform(1.0)), task(references=[zero.model_dump(), few.model_dump()]), counts=(0, 2))
    assert {score.variant: list(score.references) for score in found.scores if score.main} == {
        "0-shot": [zero],
        "2-shot": [few],
    }


def test_curves_over_solved_examples_have_the_band_of_the_seeds() -> None:
    one = task()
    found = ask(hand_scorer(uniform(1.0)), one, counts=(0, 1), seeds=(1, 2, 3)).scores
    values = [0.0, 0.5, 0.3, 0.7]
    scores = [
        replace(score, estimate=Estimate(value, 0.1, value - 0.2, value + 0.2, 3))
        for score, value in zip([score for score in found if score.main], values, strict=True)
    ]
    (panel,) = shot_curves(scores)
    assert (panel.title, list(panel.x), panel.chance) == ("task: accuracy", [0, 1], pytest.approx(1 / 3))
    assert panel.y == pytest.approx([0.0, 0.5])
    assert (list(panel.low), list(panel.high)) == (pytest.approx([-0.2, 0.3]), pytest.approx([0.2, 0.7]))
    assert shot_curves(scores[:1]) == []


def test_a_template_with_an_unknown_field_is_named() -> None:
    with pytest.raises(UserError, match=r"task task: the template '\{passage\}' cannot be filled .* answer, choices"):
        ask(hand_scorer(uniform(1.0)), task(context="{passage}"))
