from __future__ import annotations

import math
from pathlib import Path

import pytest
from small_model import tokenizer_bytes, write_rows

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer, train
from pipeline.config.schema import ChoiceConfig
from pipeline.evaluate.choice import choice, choice_ids, read_items
from pipeline.evaluate.model import Scored

TOKENIZER = Tokenizer(tokenizer_bytes())


def test_the_choice_is_scored_and_the_context_is_not() -> None:
    context, ending = TOKENIZER.encode("the cat"), TOKENIZER.encode(" sees it.")
    assert choice_ids(TOKENIZER, "the cat", "sees it.") == ([TOKENIZER.eot_id, *context], ending)


def test_a_choice_that_changes_the_encoding_of_the_context_is_scored_from_there() -> None:
    """White space at the end of a context joins the space that follows it."""
    tokenizer = Tokenizer(train(iter(["x \n  y"] * 100), 265))
    alone, both = tokenizer.encode("x \n"), tokenizer.encode("x \n  y")
    assert alone[0] == both[0]
    assert alone[1] != both[1]
    assert choice_ids(tokenizer, "x \n", " y") == ([tokenizer.eot_id, both[0]], both[1:])


class FakeScorer:
    """Gives each text a log-probability for the whole of it."""

    tokenizer = TOKENIZER
    sequence_length = 64
    truncated = 0

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    def loglikelihood_ids(self, pairs: list[tuple[list[int], list[int]]], title: str) -> list[Scored]:
        scores = [self.scores[TOKENIZER.decode(ids)] for _, ids in pairs]
        return [Scored(number, score, False, []) for number, score in enumerate(scores)]


def test_the_highest_likelihood_per_token_wins(tmp_path: Path) -> None:
    short, long = " it.", " the long road."
    n_short, n_long = len(TOKENIZER.encode(short)), len(TOKENIZER.encode(long))
    assert n_long > n_short
    rows = [
        {"context": "a dog sees", "choices": ["it.", "the long road."], "answer": 1},
        {"context": "a cat sees", "choices": ["the long road.", "it."], "answer": 1},
        {"context": "it sees", "choices": ["the long road.", "it.", "the moon.", "nobody."], "answer": 0},
    ]
    write_rows(tmp_path / "task.jsonl", rows)
    # As a whole the long one is less likely, per token it is more likely.
    scores = {short: -2.0 * n_short, long: -1.9 * n_long, " the moon.": -99.0, " nobody.": -99.0}
    found = choice(FakeScorer(scores), ChoiceConfig(name="test", path=str(tmp_path / "task.jsonl")))  # type: ignore[arg-type]
    assert found == {
        "accuracy": pytest.approx(2 / 3),
        "stderr": pytest.approx(math.sqrt(2 / 3 * 1 / 3 / 3)),
        "chance": pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3),
        "examples": 3,
        "truncated": 0,
    }


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        '{"context": "a", "choices": ["x"], "answer": 0}',
        '{"context": "a", "choices": ["x", "y"], "answer": 2}',
        '{"context": "a", "choices": ["x", "y"], "answer": -1}',
        '{"context": "a", "choices": ["x", ""], "answer": 0}',
        '{"context": "a", "choices": ["x", "y"]}',
        '{"choices": ["x", "y"], "answer": 0}',
        "[1]",
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text('{"context": "a", "choices": ["x", "y"], "answer": 0}\n' + line + "\n")
    with pytest.raises(UserError, match=r"task\.jsonl, line 2: not a row"):
        read_items(str(path), 10)


def test_at_most_as_many_as_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    write_rows(path, [{"context": str(n), "choices": ["x", "y"], "answer": 0} for n in range(5)])
    assert [item.context for item in read_items(str(path), 3)] == ["0", "1", "2"]
    path.write_text("")
    with pytest.raises(UserError, match="holds no examples"):
        read_items(str(path), 3)
    with pytest.raises(UserError, match="no such task file"):
        read_items(str(tmp_path / "other.jsonl"), 3)
