"""What is known about a data set: the forms in which it is distributed, its metrics, its licence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.config.task_data import Kind, Metric, TableConfig, Target


def usual_metrics(kind: Kind, target: Target) -> tuple[Metric, ...]:
    """Metrics where nothing says others, the headline first."""
    if target == "score":
        return ("pearson", "spearman")
    return ("accuracy", "f1") if kind == "similarity" else ("accuracy",)


PLACE = "_place"
"""Column of where a row stands: the file and, where it holds several, which."""


class RowReader(Protocol):
    """Reads what is no table.

    A module-level function, so that the cache can tell one from another.
    """

    def __call__(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows with the columns of the form's table and `PLACE`."""


@dataclass(frozen=True)
class Form:
    """One way in which a data set is distributed.

    Attributes:
        name: of this form.
        table: files, columns and labels.
        folders: below the data root, where the files may lie; the first that holds them all is taken.
        sha256: file as `table.files` names it -> hex digest, where there is only one such file in the world.
        held_out: split that has no file -> share of the training rows.
        note: what a reader of a result should know about this form.
        rows: reader of files that are no table.
    """

    name: str
    table: TableConfig
    folders: tuple[str, ...] = ("",)
    sha256: Mapping[str, str] = field(default_factory=dict)
    held_out: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    rows: RowReader | None = None


@dataclass(frozen=True)
class Registered:
    """A known data set.

    Attributes:
        title: as its authors call it.
        metrics: the headline first.
        licence: SPDX identifier, or words.
        source: paper.
        forms: tried in order.
    """

    title: str
    metrics: tuple[Metric, ...]
    licence: str
    source: str
    forms: tuple[Form, ...]

    @property
    def kind(self) -> Kind:
        """The input transformation; the same for every form."""
        return self.forms[0].table.kind


def table(kind: Kind, **settings: Any) -> TableConfig:
    """A table, its settings as a user writes them."""
    return TableConfig.model_validate({"kind": kind, **settings})
