from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.suite import text_metrics as m

WORDS = st.lists(st.sampled_from(["the", "A", "cat", "Dog.", "moon", "x-y"]), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("written", "answers", "exact", "squad_exact", "f1"),
    [
        (" 143 ", ["143"], 1, 1, 1.0),
        ("The Cat!", ["cat"], 0, 1, 1.0),
        ("a big cat", ["the cat"], 0, 0, 2 / 3),
        ("dog", ["cat"], 0, 0, 0.0),
        ("", ["the"], 0, 1, 1.0),
        ("", ["cat"], 0, 0, 0.0),
    ],
)
def test_answers_by_hand(written: str, answers: list[str], exact: int, squad_exact: int, f1: float) -> None:
    assert m.exact(written, answers) == exact
    assert m.squad_exact(written, answers) == squad_exact
    assert m.squad_f1(written, answers) == pytest.approx(f1)


def test_several_answers_leave_one_out_as_coqa() -> None:
    # Without the first the best is 0, without one of the others 1.
    assert m.squad_f1("cat", ["cat", "dog", "moon"]) == pytest.approx((0 + 1 + 1) / 3)
    assert m.squad_exact("cat", ["dog", "the cat"]) == 1


@given(WORDS, WORDS)
def test_f1_has_no_direction_and_is_one_for_the_same_words(one: str, two: str) -> None:
    assert m.token_f1(one, two) == pytest.approx(m.token_f1(two, one))
    assert m.token_f1(one, one.lower()) == 1
    assert 0 <= m.token_f1(one, two) <= 1


def test_rouge_by_hand() -> None:
    pytest.importorskip("rouge_score")
    found = m.rouge("the cats sat\non the mat", "the cat sat\nthere")
    assert found["rouge_1"] == pytest.approx(2 * (3 / 6) * (3 / 4) / (3 / 6 + 3 / 4))
    assert found["rouge_2"] == pytest.approx(2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3))
    assert found["rouge_mean"] == pytest.approx((found["rouge_1"] + found["rouge_2"] + found["rouge_l"]) / 3)


def test_bleu_carries_its_signature_and_an_interval() -> None:
    pytest.importorskip("sacrebleu")
    texts = [
        "the cat sees the moon and the boat .",
        "nobody likes the long road to it .",
        "a dog sees two apples today .",
    ]
    same, signature = m.bleu(texts, texts)
    assert same.value == pytest.approx(100)
    assert "tok:intl" in signature and "case:mixed" in signature and "smooth:exp" in signature
    other, _ = m.bleu(["the cat sees a boat and the moon .", *texts[1:]], texts)
    assert other.low < other.value < 100
    assert other.stderr > 0
    assert m.sentence_bleu("a dog", "a dog") == pytest.approx(100)
    assert m.sentence_bleu("a dog sees", "a dog") < 99


def test_the_first_sentences() -> None:
    text = ' One is 3.5 m. "Two!" he said? Three\nFour. '
    assert m.first_sentences(text, 3) == 'One is 3.5 m.\n"Two!"\nhe said?'
    assert m.first_sentences(text, 9).split("\n")[-2:] == ["Three", "Four."]
    assert m.first_sentences("", 2) == ""
