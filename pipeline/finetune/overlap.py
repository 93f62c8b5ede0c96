"""Which examples stand twice, within a split and across splits, after normalization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.finetune.task import Task
from pipeline.finetune.tasks.convert import Example, content_key, normalized


@dataclass(frozen=True)
class Repeats:
    """Examples of a split whose texts stand in an earlier one of it.

    Attributes:
        rows: how many.
        contradictions: distinct texts that have several labels.
    """

    rows: int
    contradictions: int


def repeats(examples: Sequence[Example]) -> Repeats:
    """Repeated examples within a split."""
    labels: dict[str, set[str | int | float]] = {}
    for example in examples:
        labels.setdefault(content_key(example), set()).add(example.label)
    return Repeats(len(examples) - len(labels), sum(len(found) > 1 for found in labels.values()))


def in_train(task: Task, split: str) -> tuple[int, int]:
    """Examples of a split whose texts are all those of a training example, and those of them with another label."""
    labels: dict[str, set[str | int | float]] = {}
    for example in task.splits["train"]:
        labels.setdefault(content_key(example), set()).add(example.label)
    found = [labels[key] - {example.label} for example in task.splits[split] if (key := content_key(example)) in labels]
    return len(found), sum(bool(others) for others in found)


def parts(task: Task, example: Example) -> tuple[str, ...]:
    """The texts that tell an example from others: both of a pair, the context of a choice."""
    return example.texts[:1] if task.kind == "choice" else example.texts


def seen_in_train(task: Task, split: str) -> list[bool]:
    """Whether one of an example's texts stands in a training example: a question of a pair, the context of a choice."""
    seen = {normalized(text) for example in task.splits["train"] for text in parts(task, example)}
    return [any(normalized(text) in seen for text in parts(task, example)) for example in task.splits[split]]


def most_repeated(task: Task, split: str, count: int) -> list[tuple[str, int]]:
    """The texts that stand in the most examples of a split, and in how many."""
    found = Counter(text for example in task.splits[split] for text in {normalized(t) for t in parts(task, example)})
    return [(text, rows) for text, rows in found.most_common(count) if rows > 1]
