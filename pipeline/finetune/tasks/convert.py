"""Rows -> examples, and which of them a task holds out or trains on."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import xxhash

from data_prep import keyed
from data_prep.errors import UserError
from pipeline.config.task_data import TableConfig
from pipeline.finetune.tasks.problems import Problems
from pipeline.finetune.tasks.rows import Row


@dataclass(frozen=True)
class Example:
    """A labelled example.

    Attributes:
        texts: (text,); entailment (premise, hypothesis); similarity (a, b); choice (context, candidate, candidate ...).
        label: the label's name; of a choice the position of the right candidate, from 0; or a score.
    """

    texts: tuple[str, ...]
    label: str | int | float


def normalized(text: str) -> str:
    """What two texts have in common that a reader would call the same: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def content_key(example: Example) -> str:
    """A hash of an example's normalized texts, without the label."""
    return xxhash.xxh3_128_hexdigest("\0".join(normalized(text) for text in example.texts).encode())


def examples(rows: Iterable[Row], table: TableConfig, left_out: Counter[str]) -> list[Example]:
    """Check the rows of a split.

    Args:
        rows: as read.
        table: what they should be.
        left_out: reason -> rows that the table says to leave out; added to.

    Raises:
        UserError: a row has an empty text, no label or an unknown one, or the id of another; the split is empty.
    """
    found: list[Example] = []
    problems, repeated = Problems(), Problems("give each row an id of its own, or leave task.table.id out")
    ids: dict[str, str] = {}
    candidates: int | None = None
    for row in rows:
        if row.id is not None:
            if row.id in ids:
                repeated.add(row.place, f"the id {row.id!r} stands at {ids[row.id]} too")
                continue
            ids[row.id] = row.place
        if row.label in table.drop_labels:
            left_out[f"label {row.label!r}"] += 1
            continue
        if row.label is None or not all(text.strip() for text in row.texts):
            reason = "there is no label" if row.label is None else "a text is empty"
            if table.empty == "drop":
                left_out[reason] += 1
            else:
                problems.add(row.place, reason)
            continue
        candidates = len(row.texts) if candidates is None else candidates
        if len(row.texts) != candidates:
            problems.add(row.place, f"{len(row.texts) - 1} candidates, and rows before have {candidates - 1}")
            continue
        try:
            found.append(Example(row.texts, _label(row.label, table, len(row.texts) - 1)))
        except ValueError as error:
            problems.add(row.place, str(error))
    problems.check()
    repeated.check()
    return found


def _label(value: str, table: TableConfig, candidates: int) -> str | int | float:
    """A label's value as the task has it.

    Raises:
        ValueError: it is none.
    """
    if table.target == "score":
        try:
            score = float(value)
        except ValueError:
            raise ValueError(f"the score {value!r} is not a number") from None
        if not math.isfinite(score):
            raise ValueError(f"the score is {value}")
        return score
    if table.labels and value not in table.labels:
        known = ", ".join(map(repr, list(table.labels)[:10]))
        raise ValueError(f"unknown label {value!r} (known are {known})")
    name = table.labels.get(value, value)
    if table.kind != "choice":
        return name
    if not name.isdecimal() or int(name) >= candidates:
        raise ValueError(f"the label {value!r} is not the position of one of {candidates} candidates")
    return int(name)


def hold_out(rows: Sequence[Example], share: float, seed: int, split: str) -> tuple[list[Example], list[Example]]:
    """(kept, held out): by a keyed hash of the texts, so that equal rows stay together and new rows move none.

    Args:
        rows: the training examples.
        share: about so much is held out.
        seed: of the draw.
        split: what for; draws for other splits are independent.
    """
    kept: list[Example] = []
    held: list[Example] = []
    for row in rows:
        (held if keyed.draw(seed, f"hold out {split}", content_key(row)) < share else kept).append(row)
    return kept, held


def subset(rows: Sequence[Example], count: int, seed: int, by_label: bool) -> list[Example]:
    """So many examples in the order of the rows: each label by its share, and 100 of them lie within 1,000.

    The r-th of a label's n examples, in a keyed order, comes at (r + 1/2) / n of the way; the first `count` are taken.

    Args:
        rows: the training examples.
        count: how many.
        seed: of the order.
        by_label: keep the shares of the labels; else a plain draw.

    Raises:
        UserError: there are fewer, or a label would have no example.
    """
    if count > len(rows):
        raise UserError(
            f"{count:,} training examples are asked for, and there are {len(rows):,}",
            where="task.train_examples",
            fix="lower it",
        )
    groups: dict[str | int | float, list[tuple[int, int]]] = {}
    for i, row in enumerate(rows):
        group = row.label if by_label else 0
        groups.setdefault(group, []).append((keyed.key(seed, "label budget", content_key(row)), i))
    order = [
        ((rank + 0.5) / len(members), key, i)
        for members in groups.values()
        for rank, (key, i) in enumerate(sorted(members))
    ]
    chosen = sorted(i for _, _, i in sorted(order)[:count])
    without = sorted(str(label) for label in set(groups) - {rows[i].label for i in chosen}) if by_label else []
    if without:
        raise UserError(
            f"of {count:,} training examples none has the label {without[0]!r}",
            where="task.train_examples or task.usable_labels",
            fix="raise it",
        )
    return [rows[i] for i in chosen]
