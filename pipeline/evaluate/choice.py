"""Multiple choice: the answer with the highest likelihood per token."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from data_prep import store
from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.config.schema import ChoiceConfig
from pipeline.evaluate.continuation import continuation_ids
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.statistics import proportion

DEFINITION = {"normalization": "token", "prefix": "<|endoftext|>", "shots": 0}
"""What makes the number what it is."""


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


def choice_ids(tokenizer: Tokenizer, context: str, choice: str) -> tuple[list[int], list[int]]:
    """(ids before, ids scored) of `choice` after `context` and one space; <|endoftext|> stands before the context."""
    both, first = continuation_ids(tokenizer, context, f" {choice}")
    return [tokenizer.eot_id, *both[:first]], both[first:]


def choice(scorer: Scorer, config: ChoiceConfig) -> dict[str, float]:
    """Accuracy with its standard error sqrt(p (1 - p) / n), beside chance.

    Returns:
        `accuracy`, `stderr`, `chance`, `examples`, and `truncated`: choices whose context was cut on the left.
    """
    items = read_items(config.path, config.examples)
    pairs = [choice_ids(scorer.tokenizer, item.context, text) for item in items for text in item.choices]
    before = scorer.truncated
    scored = scorer.loglikelihood_ids(pairs, title=config.name)
    per_token = [one.logprob / len(ids) for one, (_, ids) in zip(scored, pairs, strict=True)]
    correct, first = [], 0
    for item in items:
        scores = per_token[first : first + len(item.choices)]
        first += len(item.choices)
        correct.append(max(range(len(scores)), key=scores.__getitem__) == item.answer)
    accuracy = proportion(correct)
    return {
        "accuracy": accuracy.value,
        "stderr": accuracy.stderr,
        "chance": sum(1 / len(item.choices) for item in items) / len(items),
        "examples": len(items),
        "truncated": scorer.truncated - before,
    }
