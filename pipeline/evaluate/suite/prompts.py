"""Prompts: templates, and the solved examples before a question."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.config.evaluate_suite import PromptedTask
from pipeline.data.order import key
from pipeline.evaluate.suite.formats import read_rows
from pipeline.evaluate.suite.published import Row


@dataclass(frozen=True)
class Questions:
    """What is asked of a model.

    Attributes:
        name: of the task.
        root: folder of evaluation sets.
        pool: all rows of the set.
        asked: numbers of the rows that are questions.
        counts: numbers of solved examples.
        seeds: of the draws of solved examples.
    """

    name: str
    root: str
    pool: Sequence[Row]
    asked: Sequence[int]
    counts: Sequence[int]
    seeds: Sequence[int]

    @property
    def rows(self) -> list[Row]:
        """The rows that are asked."""
        return [self.pool[number] for number in self.asked]

    def rounds(self) -> Iterator[tuple[int, int, str]]:
        """(solved examples, seed, name of the variant); without solved examples the first seed only."""
        for count in self.counts:
            for seed in self.seeds if count else self.seeds[:1]:
                yield count, seed, f"{count}-shot" + (f"/seed-{seed}" if count and len(self.seeds) > 1 else "")


def fill(template: str, row: Mapping[str, Any], choice: str, where: str) -> str:
    """A template with the fields of a row; {choice} is `choice`.

    Raises:
        UserError: it names a field that the row has not, or is no template.
    """
    try:
        return string.Formatter().vformat(template, (), {**row, "choice": choice})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        fields = ", ".join([*sorted(row), "choice"])
        raise UserError(
            f"the template {template!r} cannot be filled ({type(error).__name__}: {error})",
            where=where,
            fix=f"the fields of a row are {fields}",
        ) from None


def right(row: Row) -> str:
    """The right choice, or the first accepted answer."""
    return str(row["choices"][row["answer"]] if "choices" in row else row["answers"][0])


def drawn(rows: int, count: int, seed: int, purpose: str) -> list[int]:
    """Numbers of `count` different rows, as many as there are at most; fewer are the first ones of more.

    Args:
        rows: to draw from.
        count: how many.
        seed: of the draw.
        purpose: what it is for: another one gives another draw.
    """
    draw = random.Random(key(seed, purpose))
    found: dict[int, None] = {}
    while len(found) < min(count, rows):
        found[draw.randrange(rows)] = None
    return list(found)


class Prompter:
    """Makes the prompts of a task.

    Args:
        task: its templates and shots.
        questions: what is asked.

    Raises:
        UserError: the rows to draw from cannot be read.
    """

    def __init__(self, task: PromptedTask, questions: Questions) -> None:
        self.name, self._task, self._questions = questions.name, task, questions.pool
        self._pool = questions.pool
        if task.shots.data is not None and max(questions.counts) > 0:
            self._pool = read_rows(questions.root, task.shots.data)

    def question(self, row: Row, choice: str) -> tuple[str, str]:
        """(context, completion) of a row and one of its answers, without solved examples."""
        where = f"task {self.name}"
        return fill(self._task.context, row, choice, where), fill(self._task.completion, row, choice, where)

    def shots(self, number: int, count: int, seed: int) -> list[str]:
        """The solved examples of question `number`, each with its separator; none reads as the question solved."""
        itself = self._solved(self._questions[number])
        found: list[str] = []
        more = count
        while count > 0:
            numbers = drawn(len(self._pool), more, seed, f"{self.name}:{number}")
            found = [text for one in numbers if (text := self._solved(self._pool[one])) != itself]
            if len(found) >= count or more >= len(self._pool):
                break
            more += 1
        return found[:count]

    def _solved(self, row: Row) -> str:
        return "".join(self.question(row, right(row))) + self._task.shots.separator

    @property
    def header(self) -> str:
        """What stands before all solved examples."""
        return self._task.shots.header


def fitting(
    tokenizer: Tokenizer, header: str, shots: Sequence[str], questions: Sequence[tuple[str, str]], room: int
) -> list[str]:
    """The first of the solved examples, as many as fit with the longest (context, completion) into `room` tokens.

    GPT-3 2.4 takes as many as fit; one that is cut in two would be worse than none.
    """
    fit, no_more = 0, len(shots)
    while fit < no_more:  # by bisection: one example more makes no prompt shorter
        tried = (fit + no_more + 1) // 2
        before = header + "".join(shots[:tried])
        whole = [f"{before}{context}{completion}" for context, completion in questions]
        if max(map(len, tokenizer.encode_batch(whole))) <= room:
            fit = tried
        else:
            no_more = tried - 1
    return list(shots[:fit])
