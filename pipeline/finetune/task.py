"""A labelled task in its uniform form: texts and labels in memory, whatever files they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.task_data import Kind, Target, TaskDataConfig
from pipeline.finetune.tasks.convert import Example, examples, hold_out, subset
from pipeline.finetune.tasks.read import read_rows
from pipeline.finetune.tasks.source import Source, resolve

__all__ = ["SPLITS", "Example", "Kind", "Task", "task_digest"]

SPLITS = ("train", "validation", "test")
"""What every task has; further test sets are called test_<name>."""


def _silent(line: str) -> None:
    pass


def task_digest(config: TaskDataConfig) -> str:
    """sha256 (hex) of a task's files and of all that decides what the examples are, without reading those.

    For a folder of three JSONL files as a whole it is the digest that data preparation records.

    Raises:
        UserError: there is no such task, or a file is missing.
    """
    return _digest(config, resolve(config))


def _digest(config: TaskDataConfig, source: Source) -> str:
    settings = config.model_dump(mode="json", include={"train_examples", "usable_labels"}, exclude_none=True)
    if settings or source.held_out:
        settings |= {"seed": config.seed, "held_out": dict(source.held_out)}
    if config.path is not None and not settings:
        return source.digest()
    table = source.table.model_dump(mode="json", exclude={"files"})
    return store.digest({"files": source.digest(), "form": source.form, "table": table, **settings})


@dataclass(frozen=True)
class Task:
    """A task in memory.

    Attributes:
        name: as shown in tables.
        kind: which input transformation.
        target: "label", or "score" for a number.
        splits: "train", "validation", "test" and further test sets.
        labels: names; the class number is the position. Empty for a choice and for a score.
        digest: see `task_digest`.
        metrics: the headline first.
        source: sha256 (hex) over the files alone.
        where: the folder they lie in.
        form: which of the forms of a registered task they have; else empty.
        licence: of a registered task; else empty.
        notes: what a reader of results should know, a line each.
    """

    name: str
    kind: Kind
    target: Target
    splits: dict[str, list[Example]]
    labels: list[str]
    digest: str
    metrics: tuple[str, ...]
    source: str
    where: str
    form: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()

    @staticmethod
    def load(config: TaskDataConfig, say: Callable[[str], None] = _silent) -> Task:
        """Read a task.

        Args:
            config: where it is and what of it is used.
            say: is told the notes.

        Raises:
            UserError: a file is missing or not the known one; rows that cannot be used; fewer than two labels; a
                label that train has not.
        """
        source = resolve(config)
        if config.verify:
            source.verify()
        notes = [source.note] if source.note else []
        splits = {}
        for split in source.files:
            left_out: Counter[str] = Counter()
            splits[split] = examples(read_rows(source, split, config.cache), source.table, left_out)
            notes += [f"{split}: {count:,} rows left out ({reason})" for reason, count in left_out.items()]
            if not splits[split]:
                raise UserError(f"{split} has no examples", where=source.files[split][0], fix="give labelled rows")
        labels = _labels(splits, source)
        taken = 0.0
        for split, share in source.held_out.items():
            kept, held = hold_out(splits["train"], share / (1 - taken), config.seed, split)
            if not kept or not held:
                raise UserError(
                    f"train has {len(splits['train'])} examples, of which a share of {share:g} cannot be held out",
                    where=source.files["train"][0],
                    fix=f"give a file for {split}, or another task.{split}_share",
                )
            splits["train"], splits[split], taken = kept, held, taken + share
            notes.append(f"{split}: {len(held):,} rows held out of train by the hash of their texts")
        splits["train"] = _budget(splits["train"], config, source, notes)
        ordered = [*SPLITS, *(split for split in source.files if split not in SPLITS)]
        for note in notes:
            say(f"{config.name}: {note}")
        return Task(
            config.name,
            source.table.kind,
            source.table.target,
            {split: splits[split] for split in ordered},
            labels,
            _digest(config, source),
            source.metrics,
            source.digest(),
            source.where,
            source.form,
            source.licence,
            tuple(notes),
        )

    def majority(self, split: str) -> float:
        """Accuracy in `split` of always answering train's most frequent label (choice: position).

        Raises:
            ValueError: the target is a score.
        """
        if self.target == "score":
            raise ValueError("a score has no majority")
        most = Counter(example.label for example in self.splits["train"]).most_common(1)[0][0]
        rows = self.splits[split]
        return sum(example.label == most for example in rows) / len(rows)


def _labels(splits: dict[str, list[Example]], source: Source) -> list[str]:
    """The names in the order of the classes.

    Raises:
        UserError: train has fewer than two; another split has others.
    """
    if source.table.target == "score" or source.table.kind == "choice":
        return []
    train = {str(example.label) for example in splits["train"]}
    where = source.files["train"][0]
    if len(train) < 2:
        raise UserError(f"train has the single label {min(train)!r}", where=where, fix="give two or more")
    for split, rows in splits.items():
        unknown = Counter(str(example.label) for example in rows if example.label not in train)
        if unknown:
            names, count = ", ".join(map(repr, sorted(unknown)[:3])), sum(unknown.values())
            raise UserError(
                f"{split} has labels that train has not: {names} ({count:,} of {len(rows):,} rows)",
                where=source.files[split][0],
                fix="mend the labels, or map them in task.table.labels",
            )
    return list(dict.fromkeys(source.table.labels.values())) or sorted(train)


def _budget(train: list[Example], config: TaskDataConfig, source: Source, notes: list[str]) -> list[Example]:
    count = config.train_examples
    if config.usable_labels is not None:
        count = max(1, round(config.usable_labels * len(train)))
    if count is None:
        return train
    notes.append(f"train: {count:,} of {len(train):,} labelled examples are used")
    return subset(train, count, config.seed, source.table.target == "label")
