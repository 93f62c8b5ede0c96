from __future__ import annotations

from typing import Any

import pytest
from hand_scorer import hand_scorer
from hypothesis import given
from hypothesis import strategies as st

from data_prep.configfile import validate
from pipeline.config.evaluate_suite import LastWordTask
from pipeline.evaluate.suite.last_word import first_word, likeliest_word, score_last_words
from pipeline.evaluate.suite.prompts import Questions
from pipeline.evaluate.suite.published import split_passage


def test_three_definitions_by_hand() -> None:
    """Of a word of several tokens the last one is easy and its first one hard."""
    texts = ["the cat sees the apples", "nobody likes the moon", "a dog likes xyxy"]
    rows = [{"context": text.rpartition(" ")[0], "answers": [text.rpartition(" ")[2]]} for text in texts]

    def cost(before: Any, id: int) -> float:
        return 0.5 if len(before) > lengths[tuple(before[:3])] else 2.0

    scorer: Any = hand_scorer(cost)
    encode = scorer.tokenizer.encode
    lengths = {
        tuple([scorer.tokenizer.eot_id, *encode(text)][:3]): len(encode(text.rpartition(" ")[0])) + 1 for text in texts
    }
    counts = [len(encode(text)) - len(encode(text.rpartition(" ")[0])) for text in texts]
    assert 1 in counts and max(counts) > 1
    data = {"kind": "last-word", "about": {"title": "t", "licence": "l"}, "data": {"path": "x", "format": "last-word"}}
    found = score_last_words(
        scorer, validate(LastWordTask, data, "t"), Questions("set", "", rows, [0, 1, 2], (0,), (1,))
    )
    values = {score.metric: score.estimate.value for score in found.scores}
    several = sum(count > 1 for count in counts)
    assert values["accuracy"] == 0.0
    assert values["accuracy_token"] == pytest.approx(several / 3)
    nats = [2.0 + 0.5 * (count - 1) for count in counts]
    assert values["ppl_word"] == pytest.approx(2.718281828 ** (sum(nats) / 3))
    last = [0.5 if count > 1 else 2.0 for count in counts]
    assert values["ppl_token"] == pytest.approx(2.718281828 ** (sum(last) / 3))
    assert [row["nll"] for row in found.examples] == pytest.approx(nats)
    assert "accuracy_filtered" not in values
    assert found.scores[0].floors == {"majority": pytest.approx(1 / 3)}


def test_the_filter_takes_the_likeliest_word_that_is_no_stop_word() -> None:
    words = [("it", -0.1), ("The", -0.2), ("moon", -1.5), ("road", -1.4)]
    assert likeliest_word(words, {"it", "the"}) == "road"
    assert likeliest_word(words, set()) == "it"
    assert likeliest_word(words[:2], {"it", "the"}) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [(" moon.", "moon"), (" don't go", "don't"), (" jack-o'-lantern,", "jack-o'-lantern"), (".", None), ("", None)],
)
def test_the_word_that_a_continuation_begins_with(text: str, word: str | None) -> None:
    assert first_word(text) == word


@given(st.lists(st.text("abc'-é", min_size=1), min_size=2))
def test_a_passage_is_its_context_and_its_last_word(words: list[str]) -> None:
    text = " ".join(words)
    context, last = split_passage(text)
    assert f"{context} {last}" == text
    assert " " not in last
