"""Multiple choice: the answer with the highest likelihood per token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from data_prep import store
from data_prep.errors import UserError
from data_prep.progress import ProgressBar
from data_prep.tokenizer import Tokenizer
from pipeline.config.schema import ChoiceConfig
from pipeline.evaluate.model import Scorer, Window
from pipeline.model.loss import IGNORE


@dataclass(frozen=True)
class Item:
    """One question: `choices[answer]` continues `context` behind one space."""

    context: str
    choices: tuple[str, ...]
    answer: int


def read_items(path: str, limit: int) -> list[Item]:
    """Rows {"context", "choices", "answer"} of a JSONL file, at most `limit`.

    Raises:
        UserError: missing or empty file, or a line that is not such a row; names the line.
    """
    if not store.exists(path):
        raise UserError("no such task file", where=path, fix="make the task, or correct choice.path")
    items = []
    for number, line in enumerate(store.read_bytes(path).splitlines()[:limit], 1):
        try:
            row = orjson.loads(line)
            item = Item(str(row["context"]), tuple(str(choice) for choice in row["choices"]), int(row["answer"]))
            if len(item.choices) < 2 or not 0 <= item.answer < len(item.choices) or not all(item.choices):
                raise ValueError("needs two or more choices, none empty, and the number of the right one")
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f'not a row {{"context", "choices", "answer"}} ({error})',
                where=f"{path}, line {number}",
                fix="mend or remove it",
            ) from None
        items.append(item)
    if not items:
        raise UserError("the file holds no examples", where=path, fix="give a file with examples")
    return items


def choice_window(tokenizer: Tokenizer, context: str, choice: str, length: int, owner: int) -> Window:
    """The window that scores `choice` after `context` and one space.

    Both are encoded together, so that the boundary is the one the model has seen in training; what is scored starts at
    the first token that differs from the context's own encoding. Context is cut on the left where the window is full.
    """
    alone, both = tokenizer.encode(context), tokenizer.encode(f"{context} {choice}")
    shared = 0
    while shared < min(len(alone), len(both) - 1) and alone[shared] == both[shared]:
        shared += 1
    inputs = [tokenizer.eot_id, *both[:-1]]
    targets = [IGNORE] * shared + both[shared:]
    return Window(inputs[-length:], targets[-length:], owner)


def choice(scorer: Scorer, config: ChoiceConfig) -> dict[str, float]:
    """Accuracy with its standard error sqrt(p (1 - p) / n), beside chance.

    Returns:
        `accuracy`, `stderr`, `chance`, `examples`.
    """
    items = read_items(config.path, config.examples)
    total = sum(len(item.choices) for item in items)
    lengths: list[int] = []

    def windows() -> Iterator[Window]:
        for item in items:
            for text in item.choices:
                window = choice_window(scorer.tokenizer, item.context, text, scorer.sequence_length, len(lengths))
                lengths.append(sum(target != IGNORE for target in window.targets))
                yield window

    per_token: list[float] = []
    with ProgressBar(config.name, total, "choices") as bar:
        for owner, score in scorer.nll(windows()):
            per_token.append(score / lengths[owner])
            bar.update(owner + 1)
    correct, first = 0, 0
    for item in items:
        scores = per_token[first : first + len(item.choices)]
        first += len(item.choices)
        correct += min(range(len(scores)), key=scores.__getitem__) == item.answer
    accuracy = correct / len(items)
    return {
        "accuracy": accuracy,
        "stderr": math.sqrt(accuracy * (1 - accuracy) / len(items)),
        "chance": sum(1 / len(item.choices) for item in items) / len(items),
        "examples": len(items),
    }
