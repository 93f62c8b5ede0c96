from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hand_scorer import hand_scorer, uniform

from data_prep.configfile import validate
from data_prep.errors import UserError
from pipeline.config.evaluate_suite import LanguageModelTask
from pipeline.evaluate.suite.language_model import score_text, strides, units_of

TEXT = " the cat does n't see \n\n a dog 's boat \n"
WORDS = 5 + 4 + 3
"""Nine words and three line ends."""


def task(**changes: Any) -> LanguageModelTask:
    data = {
        "kind": "language-model",
        "about": {"title": "t", "licence": "l"},
        "data": {"path": "text", "format": "text"},
        **changes,
    }
    return validate(LanguageModelTask, data, "test")


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "text").write_text(TEXT)
    return str(tmp_path)


def test_perplexity_is_by_the_original_words_whatever_the_text(root: str) -> None:
    scorer = hand_scorer(uniform(0.5), length=8)
    one = task(detokenizer="ptb", units=WORDS, overlaps=[0.0, 0.5, 0.51])
    found = score_text(scorer, "set", one, root, None)
    plain = "the cat doesn't see\n\na dog's boat\n"
    tokens = {"raw": len(scorer.tokenizer.encode(TEXT)), "detokenized": len(scorer.tokenizer.encode(plain))}
    assert tokens["raw"] > tokens["detokenized"]
    words = {score.variant: score for score in found.scores if score.metric == "ppl_word"}
    assert list(words) == ["detokenized/stride-8", "detokenized/stride-4", "raw/stride-8", "raw/stride-4"]
    for variant, score in words.items():
        count = tokens[variant.split("/")[0]]
        assert score.estimate.value == pytest.approx(math.exp(0.5 * count / WORDS))
        assert (score.definition["units"], score.definition["tokens"]) == (WORDS, count)
        assert (score.definition["window"], score.main) == (8, variant == "detokenized/stride-8")
    assert words["detokenized/stride-8"].definition["detokenized"]["whole"] == 2
    assert sum(row["tokens"] for row in found.examples if row["variant"] == "raw/stride-4") == tokens["raw"]


def test_a_model_that_knows_nothing_scores_what_stands_beside_it(root: str) -> None:
    scorer = hand_scorer(uniform(1.0))
    guess = hand_scorer(uniform(math.log(scorer.vocab_size)))
    for unit in ("word", "char"):
        for score in score_text(guess, "set", task(unit=unit), root, None).scores:
            assert score.floors["uniform"] == pytest.approx(score.estimate.value)


def test_a_limit_holds_for_a_text_without_lines_too(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abcd " * 1000)
    scores = score_text(hand_scorer(uniform(1.0)), "set", task(unit="char"), str(tmp_path), 3).scores
    assert scores[0].definition["units"] == 3000
    (tmp_path / "text").write_text("one two\n" * 10)
    assert score_text(hand_scorer(uniform(1.0)), "set", task(), str(tmp_path), 3).scores[0].definition["units"] == 9


def test_a_text_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a \xff b\n")
    with pytest.raises(UserError, match=r"text: not UTF-8 text \(invalid start byte\)"):
        score_text(hand_scorer(uniform(1.0)), "set", task(detokenizer="ptb"), str(tmp_path), None)


@pytest.mark.parametrize(("unit", "metric", "count"), [("byte", "bits_per_byte", 8), ("char", "bits_per_char", 7)])
def test_bits_by_bytes_and_characters(tmp_path: Path, unit: str, metric: str, count: int) -> None:
    (tmp_path / "text").write_text("a é cat", encoding="utf-8")
    scorer = hand_scorer(uniform(math.log(2)))
    (bits, _) = score_text(scorer, "set", task(unit=unit, overlaps=[0.0]), str(tmp_path), None).scores
    assert bits.metric == metric
    assert bits.estimate.value == pytest.approx(len(scorer.tokenizer.encode("a é cat")) / count)


def test_each_line_may_be_a_document(root: str) -> None:
    began = []

    def cost(before: Any, id: int) -> float:
        began.append(len(before) == 1)
        return 1.0

    score_text(hand_scorer(cost), "set", task(documents="line", overlaps=[0.0]), root, None)
    assert sum(began) == 3


def test_a_text_of_another_length_is_refused(root: str) -> None:
    with pytest.raises(UserError, match=r"set: text: the text has 12 units \(word\), but 13 are those"):
        score_text(hand_scorer(uniform(1.0)), "set", task(units=13), root, None)


def test_units_of_published_sets() -> None:
    """Words, and one for each line's end: PTB's test set has 3,761 lines and 78,669 words, 82,430 in all."""
    assert units_of(b" no it was n't \n but \n", "word") == 5 + 2
    assert units_of(b" \n = x = \n \n", "word") == 3 + 3
    assert units_of(b"one two", "word") == 3
    assert units_of("é".encode(), "byte") == 2
    assert units_of("é".encode(), "char") == 1


def test_strides_of_a_long_and_a_short_model() -> None:
    assert strides(2048, task()) == [(1024, 1024), (1024, 512)]
    assert strides(1024, task(overlaps=[0.5, 0.0])) == [(1024, 512), (1024, 1024)]
    assert strides(1, task()) == [(1, 1)]
