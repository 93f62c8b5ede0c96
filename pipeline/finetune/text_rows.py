"""Texts to predict, read row by row from JSON lines, CSV or plain lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import orjson

from data_prep.errors import UserError
from pipeline.config.task_data import TEXTS, Kind, as_text

Format = Literal["jsonl", "csv", "tsv", "lines"]
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "classification": ("text",),
    "entailment": ("premise", "hypothesis"),
    "similarity": ("a", "b"),
    "choice": ("context", "candidates"),
}
"""Names of the columns where none are given; `candidates` is a list."""
LABEL = "label"
EMPTY = "the text is empty"


@dataclass(frozen=True)
class TextRow:
    """One row to predict.

    Attributes:
        number: from 1; a header is not counted.
        texts: of the example, in the order of its kind.
        label: the right answer as text, if the row gives it.
        problem: why it cannot be predicted.
    """

    number: int
    texts: tuple[str, ...]
    label: str | None = None
    problem: str | None = None


def read_rows(
    lines: Iterable[str], kind: Kind, form: Format | None, columns: Sequence[str], where: str
) -> Iterator[TextRow]:
    """The rows of an input, as they come.

    Args:
        lines: of the input; bytes that are not UTF-8 as `surrogateescape` makes them.
        kind: form of the model's inputs.
        form: of the lines; by default JSON lines if the first begins with "{", else plain lines.
        columns: of the texts, in the order of the kind; those of `COLUMNS` if there are none.
        where: the input, for errors.

    Raises:
        UserError: a line that cannot be read, or lacks a column; names the line. Empty texts are no errors but rows
            with a `problem`.
    """
    remaining = iter(lines)
    first = next(remaining, None)
    if first is None:
        return
    form = form or ("jsonl" if first.lstrip().startswith("{") else "lines")
    if form == "lines" and columns:
        raise UserError(
            "plain lines have no columns", where="--column", fix="give --format csv, tsv or jsonl, or leave it out"
        )
    names = tuple(columns) or COLUMNS[kind]
    everything = chain([first], remaining)
    if form == "lines":
        if kind != "classification":
            raise UserError(
                f"the model's inputs are {kind}: a plain line holds one text",
                where=where,
                fix=f"give JSON lines or CSV with the columns {', '.join(names)}",
            )
        for number, line in enumerate(everything, 1):
            yield _row(number, (line.rstrip("\r\n"),), None, f"{where}, line {number}")
        return
    source = _objects(everything, where) if form == "jsonl" else _table(everything, form, where)
    for number, (place, fields) in enumerate(source, 1):
        label = fields.get(LABEL)
        yield _row(number, _texts(fields, names, kind, place), None if label is None else as_text(label), place)


def _row(number: int, texts: tuple[str, ...], label: str | None, place: str) -> TextRow:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise UserError("not UTF-8", where=place, fix="convert the input to UTF-8") from None
    empty = any(not text.strip() for text in texts)
    return TextRow(number, texts, label, EMPTY if empty else None)


def _objects(lines: Iterable[str], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, fields) of every line that is not blank."""
    for number, line in enumerate(lines, 1):
        place = f"{where}, line {number}"
        if not line.strip():
            continue
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise UserError(f"not JSON ({error})", where=place, fix="mend or remove the line") from None
        if not isinstance(fields, dict):
            raise UserError("not a JSON object", where=place, fix="mend or remove the line")
        yield place, fields


def _table(lines: Iterable[str], form: Format, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, fields) of every row behind the header."""
    csv.field_size_limit(1 << 30)  # a text may be long
    if form == "tsv":
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.DictReader(lines, strict=True)
    try:
        for fields in reader:
            place = f"{where}, line {reader.line_num}"
            if None in fields or None in fields.values():
                raise UserError("more or fewer fields than the header", where=place, fix="mend or remove the line")
            yield place, fields
    except csv.Error as error:
        raise UserError(
            f"not CSV ({error})", where=f"{where}, line {reader.line_num + 1}", fix="mend the line"
        ) from None


def _texts(fields: Mapping[str, Any], names: Sequence[str], kind: Kind, place: str) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        if name not in fields:
            raise UserError(
                f"there is no {name!r}", where=place, fix=f"give {', '.join(names)}, or name the columns (--column)"
            )
        value = fields[name]
        parts = value if kind == "choice" and isinstance(value, list) else [value]
        if not all(isinstance(part, str) for part in parts):
            raise UserError(f"{name!r} is not text", where=place, fix="mend or remove the line")
        found += parts
    wanted = TEXTS[kind] + (kind == "choice")
    if len(found) < wanted or (len(found) > wanted and kind != "choice"):
        least = "at least " if kind == "choice" else ""
        raise UserError(
            f"{len(found)} texts, and {kind} has {least}{wanted}", where=place, fix="name the right columns (--column)"
        )
    return tuple(found)
