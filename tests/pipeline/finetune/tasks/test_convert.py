from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from pipeline.config.task_data import TableConfig
from pipeline.finetune.tasks.convert import Example, content_key, examples, hold_out, normalized, subset
from pipeline.finetune.tasks.rows import Row

LABELS = st.lists(st.sampled_from("abc"), min_size=3, max_size=60)


def rows(labels: list[str]) -> list[Example]:
    return [Example((f"text {i}",), label) for i, label in enumerate(labels)]


@given(LABELS, st.data(), st.integers(0, 5))
def test_a_smaller_budget_lies_within_a_larger_one(labels: list[str], data: st.DataObject, seed: int) -> None:
    small = data.draw(st.integers(0, len(labels)))
    large = data.draw(st.integers(small, len(labels)))

    def chosen(count: int) -> list[Example]:
        return subset(rows(labels), count, seed, by_label=False)

    assert len(chosen(small)) == small
    assert set(chosen(small)) <= set(chosen(large))


@given(LABELS, st.data(), st.integers(0, 5))
def test_each_label_keeps_its_share(labels: list[str], data: st.DataObject, seed: int) -> None:
    count = data.draw(st.integers(1, len(labels)))
    whole = Counter(labels)
    try:
        found = Counter(example.label for example in subset(rows(labels), count, seed, by_label=True))
    except UserError as error:
        assert "none has the label" in str(error)
        assert count * min(whole.values()) <= len(labels)
        return
    assert found.total() == count
    for label, number in whole.items():
        assert abs(found[label] - count * number / len(labels)) <= 1


def test_a_budget_depends_on_the_seed_and_keeps_the_order() -> None:
    many = rows(["a", "b"] * 50)
    first, second = (subset(many, 20, seed, by_label=True) for seed in (1, 2))
    assert first != second
    assert [many.index(one) for one in first] == sorted(many.index(one) for one in first)
    with pytest.raises(UserError, match="101 training examples are asked for, and there are 100"):
        subset(many, 101, 0, by_label=True)


@given(LABELS, st.floats(0.1, 0.9), st.integers(0, 5))
def test_new_rows_move_none_and_equal_texts_stay_together(labels: list[str], share: float, seed: int) -> None:
    few = rows(labels)
    kept, held = hold_out(few, share, seed, "validation")
    assert sorted([*kept, *held], key=few.index) == few
    again = [Example(("TEXT   0",), "c"), *few, *(Example((f"more {i}",), "a") for i in range(20))]
    kept_again, held_again = hold_out(again, share, seed, "validation")
    assert set(kept) <= set(kept_again)
    assert set(held) <= set(held_again)
    assert not {content_key(one) for one in kept_again} & {content_key(one) for one in held_again}


def test_what_is_held_out_for_test_and_validation_is_independent() -> None:
    many = rows(["a"] * 4000)
    kept, test = hold_out(many, 0.25, 3, "test")
    _, validation = hold_out(kept, 0.25, 3, "validation")
    assert 900 < len(test) < 1100
    assert 650 < len(validation) < 850


def test_normalization() -> None:
    assert normalized("  The\tＣＡＴ\n sat ") == "the cat sat"
    assert content_key(Example(("a", "b"), "x")) == content_key(Example(("A", " b"), "y"))
    assert content_key(Example(("a", "b"), "x")) != content_key(Example(("a b",), "x"))


def table(**changes: object) -> TableConfig:
    settings = {"kind": "classification", "files": {"train": "x.csv"}, "texts": "text", **changes}
    return TableConfig.model_validate(settings)


CHOICE = {"kind": "choice", "texts": ["context", "options"]}


@pytest.mark.parametrize(
    ("changes", "found", "message"),
    [
        (
            {},
            [(("a",), "x"), ((" ",), "x"), (("",), "x")],
            "row 2: a text is empty .the first of 2 rows",
        ),
        ({}, [(("a",), None)], "row 1: there is no label; mend or remove it"),
        ({"labels": {"0": "no"}}, [(("a",), "0"), (("a",), "2")], "row 2: unknown label '2' .known are '0'"),
        (
            {"id": "id"},
            [(("a",), "x"), (("b",), "x")],
            "row 2: the id 'same' stands at f.csv, row 1 too",
        ),
        (CHOICE, [(("c", "a", "b"), "2")], "row 1: the label '2' is not the position of one of 2 candidates"),
        (CHOICE, [(("c", "a", "b"), "-1")], "row 1: the label '-1' is not the position"),
        (CHOICE, [(("c", "a", "b"), "1"), (("c", "a"), "0")], "row 2: 1 candidates, and rows before have 2"),
        (
            {"kind": "similarity", "texts": ["a", "b"], "target": "score"},
            [(("a", "b"), "1.5"), (("a", "b"), "high")],
            "row 2: the score 'high' is not a number",
        ),
        (
            {"kind": "similarity", "texts": ["a", "b"], "target": "score"},
            [(("a", "b"), "nan")],
            "row 1: the score is nan",
        ),
    ],
)
def test_rows_that_cannot_be_used(
    changes: dict[str, object], found: list[tuple[tuple[str, ...], str | None]], message: str
) -> None:
    given_rows = [Row(texts, label, "same", f"f.csv, row {n}") for n, (texts, label) in enumerate(found, 1)]
    if "id" not in changes:
        given_rows = [Row(row.texts, row.label, None, row.place) for row in given_rows]
    with pytest.raises(UserError, match=message):
        examples(given_rows, table(**changes), Counter())


def test_what_a_table_leaves_out_is_counted() -> None:
    left_out: Counter[str] = Counter()
    found = [(("a",), "x"), (("",), "x"), (("b",), None), (("c",), "-")]
    given_rows = [Row(texts, label, None, f"row {n}") for n, (texts, label) in enumerate(found)]
    assert examples(given_rows, table(empty="drop", drop_labels=["-"]), left_out) == [Example(("a",), "x")]
    assert left_out == {"a text is empty": 1, "there is no label": 1, "label '-'": 1}
