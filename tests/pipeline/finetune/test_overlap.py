from __future__ import annotations

from pathlib import Path

from pipeline.finetune.overlap import Repeats, in_train, most_repeated, repeats, seen_in_train
from pipeline.finetune.task import Example, Task


def task(kind: str, train: list[Example], test: list[Example]) -> Task:
    splits = {"train": train, "validation": train[:1], "test": test}
    return Task("t", kind, "label", splits, ["x", "y"], "0" * 64, ("accuracy",), "0" * 64, str(Path()))  # type: ignore[arg-type]


def test_repeats_and_contradictions_are_found_after_normalization() -> None:
    rows = [Example(("A  b",), "x"), Example(("a b",), "x"), Example(("a B ",), "y"), Example(("c",), "x")]
    assert repeats(rows) == Repeats(2, 1)
    assert repeats(rows[:2]) == Repeats(1, 0)
    assert repeats([]) == Repeats(0, 0)


def test_whole_examples_that_stand_in_train() -> None:
    train = [Example(("a", "b"), "x"), Example(("c", "d"), "x")]
    test = [Example(("A", "B"), "x"), Example(("c", "D"), "y"), Example(("b", "a"), "x"), Example(("a", "e"), "x")]
    pairs = task("similarity", train, test)
    assert in_train(pairs, "test") == (2, 1)
    assert seen_in_train(pairs, "test") == [True, True, True, True]
    assert seen_in_train(task("similarity", train, [Example(("e", "f"), "x")]), "test") == [False]


def test_of_a_choice_the_context_counts() -> None:
    train = [Example(("story", "right", "wrong"), 0), Example(("Story", "one", "other"), 1)]
    choice = task("choice", train, [Example(("new", "right", "wrong"), 0), Example(("STORY", "u", "v"), 0)])
    assert seen_in_train(choice, "test") == [False, True]
    assert most_repeated(choice, "train", 5) == [("story", 2)]
