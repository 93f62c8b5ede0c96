"""Where a labelled task comes from: a registered one below a data root, or a table of the user's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.fields import Positive, Share

Kind = Literal["classification", "entailment", "similarity", "choice"]
"""The input transformations of GPT-1 3.3 (figure 1)."""
Target = Literal["label", "score"]
LabelMetric = Literal["accuracy", "f1", "matthews"]
ScoreMetric = Literal["pearson", "spearman"]
Metric = Literal[LabelMetric, ScoreMetric]
OF_LABELS, OF_SCORES = get_args(LabelMetric), get_args(ScoreMetric)
Format = Literal["csv", "tsv", "jsonl", "parquet", "datasets", "texts"]
TEXTS: dict[Kind, int] = {"classification": 1, "entailment": 2, "similarity": 2, "choice": 2}
"""Texts of an example; of `choice` at least so many."""


def as_text(value: object) -> str:
    """A label's value as it is compared and shown: 1 -> "1", True -> "true"."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(value: object) -> object:
    if isinstance(value, dict):
        return {as_text(key): as_text(item) for key, item in value.items()}
    return [as_text(item) for item in value] if isinstance(value, (list, tuple)) else value


def _files(value: object) -> object:
    if isinstance(value, dict):
        return {split: [files] if isinstance(files, str) else files for split, files in value.items()}
    return value


def _columns(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [[column] if isinstance(column, str) else column for column in value]
    return value


Split = Annotated[str, Field(pattern=r"^(train|validation|test(_[a-z0-9_]+)?)$")]
"""A further test set is called test_<name>."""
Text = Annotated[str, Field(min_length=1)]
Columns = Annotated[tuple[Text, ...], Field(min_length=1)]


class TableConfig(Settings):
    """A table with labels, in files that one person or another calls a data set.

    Attributes:
        kind: which input transformation.
        files: split -> file or files (patterns too) below `task.root`; train is needed. A folder made by
            `datasets.Dataset.save_to_disk` is a file here.
        format: by default from the files' ending. "tsv" has no quotes; a quoted table with tabs is "csv" with
            `delimiter: "\\t"`. "texts": each file is one text, its folder's name the label.
        delimiter: between columns of a CSV.
        escape: character of a CSV before a quote within quotes; by default quotes are doubled there.
        header: names of all columns where the file does not begin with them.
        texts: columns of the texts, in the order of the kind: text; premise, hypothesis; a, b; context, candidate,
            candidate ... (one column may hold the list of candidates). Several columns in brackets are joined by a
            space.
        label: column of the label: its name; of the right candidate its position, from 0; or a number to predict.
        target: "label", or "score" for a number (similarity).
        labels: value in the file -> name of the label (`choice`: position). Their order is that of the classes, and
            other values are errors. By default the values are the names, in alphabetical order.
        id: column whose values must differ within a split.
        empty: a row with an empty text or without a label is an error, or is left out and counted.
        drop_labels: rows with these labels are left out and counted.
    """

    kind: Kind
    files: Annotated[dict[Split, Columns], BeforeValidator(_files)]
    format: Format | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    escape: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    header: Columns | None = None
    texts: Annotated[tuple[Columns, ...], BeforeValidator(_columns), Field(min_length=1)] = (("text",),)
    label: Text = "label"
    target: Target = "label"
    labels: Annotated[dict[str, str], BeforeValidator(_texts)] = Field(default_factory=dict)
    id: Text | None = None
    empty: Literal["error", "drop"] = "error"
    drop_labels: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_text_has_no_brackets(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("texts"), str):
            return {**data, "texts": [data["texts"]]}
        return data

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if "train" not in self.files:
            raise ValueError("files has no train")
        wanted, given = TEXTS[self.kind], len(self.texts)
        if given < wanted or (given > wanted and self.kind != "choice"):
            least = "at least " if self.kind == "choice" else ""
            raise ValueError(f"texts names {given} columns, and {self.kind} has {least}{wanted}")
        if self.target == "score" and self.kind != "similarity":
            raise ValueError(f"a score is for similarity, and this is {self.kind}")
        if self.target == "score" and self.labels:
            raise ValueError("a score has no labels")
        if self.kind == "choice" and not all(name.isdecimal() for name in self.labels.values()):
            raise ValueError("labels of a choice stand for positions, from 0")
        used = {name for columns in self.texts for name in columns} | {self.label} | ({self.id} if self.id else set())
        missing = sorted(used - set(self.header)) if self.header is not None else []
        if missing:
            raise ValueError(f"header has no column {missing[0]}")
        return self


PLAIN = TableConfig(
    kind="classification",
    files={split: (f"{split}.jsonl",) for split in ("train", "validation", "test")},
    texts=(("text",),),
)
"""What `task.path` holds, as data preparation writes it."""


class TaskDataConfig(Settings):
    """Examples and labels of a task: a folder, a registered data set, or a table.

    Attributes:
        name: of a registered task (`pipeline/finetune/tasks`); any name with `path` or `table`. As shown in tables.
        path: folder with train.jsonl, validation.jsonl and test.jsonl, rows {"text", "label"}.
        root: folder below which the files of a registered task or of `table` lie.
        table: data of the user's own.
        cache: folder of the tables as `datasets` keeps them (Arrow); by default that of the library
            (HF_DATASETS_CACHE).
        verify: refuse files of a registered task that are not, byte by byte, those that are known.
        validation_share: of the training rows, by a keyed hash of their texts, where there is no file for validation;
            by default 0.1 or what the registered task says.
        test_share: the same for the test.
        train_examples: train on so many examples only, each label by its share; 100 lie within 1,000.
        usable_labels: the same as a share of the training examples; 0.05 where 95 % of the labels are unusable.
        seed: of held-out rows and of the examples trained on.
        metrics: of a `table`, the headline first; by default what fits the kind.
    """

    name: str = Field(min_length=1)
    path: str | None = None
    root: str | None = None
    table: TableConfig | None = None
    cache: str | None = None
    verify: bool = True
    validation_share: Annotated[Share, Field(gt=0)] | None = None
    test_share: Annotated[Share, Field(gt=0)] | None = None
    train_examples: Positive | None = None
    usable_labels: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int = 0
    metrics: tuple[Metric, ...] = ()

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.root is None):
            raise ValueError("give root, or path for a folder with train.jsonl, validation.jsonl, test.jsonl")
        if self.path is not None and self.table is not None:
            raise ValueError("a table lies below root: give root instead of path")
        if self.metrics and self.root is not None and self.table is None:
            raise ValueError("a registered task has its own metrics")
        return self

    @model_validator(mode="after")
    def _metrics_fit(self) -> Self:
        target = self.table.target if self.table is not None else "label"
        fitting = OF_SCORES if target == "score" else OF_LABELS
        wrong = [metric for metric in self.metrics if metric not in fitting]
        if wrong:
            raise ValueError(f"metrics: {wrong[0]} does not measure a {target}: choose from {', '.join(fitting)}")
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.train_examples is not None and self.usable_labels is not None:
            raise ValueError("train_examples and usable_labels say the same: give one")
        return self
