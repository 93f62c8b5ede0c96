"""Rows as they stand in files, before it is asked whether they make sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.task_data import TableConfig, as_text
from pipeline.finetune.tasks.form import PLACE
from pipeline.finetune.tasks.problems import Problems


@dataclass(frozen=True)
class Row:
    """A row as it stands in a file.

    Attributes:
        texts: in the order of the table; a list of candidates is spread.
        label: its value; None where there is none.
        id: None where the table names no column for it.
        place: file and row, for errors.
    """

    texts: tuple[str, ...]
    label: str | None
    id: str | None
    place: str


def columns_of(table: TableConfig) -> list[str]:
    """The columns that a table needs, each once."""
    names = [name for columns in table.texts for name in columns] + [table.label] + ([table.id] if table.id else [])
    return list(dict.fromkeys(names))


def extract(
    found: Iterable[tuple[str, Mapping[str, Any]]],
    table: TableConfig,
    problems: Problems,
    names: Sequence[str] | None = None,
) -> Iterator[Row]:
    """Rows from the values of their columns.

    Args:
        found: place, and column -> value.
        table: which columns are what.
        problems: takes the rows that cannot be used.
        names: of the labels, where these are numbers of a `datasets.ClassLabel`.
    """
    for place, values in found:
        texts = _texts(values, table)
        if texts is None:
            problems.add(place, "a text is not a text")
            continue
        label = values[table.label]
        if names is not None and isinstance(label, int):
            label = names[label] if 0 <= label < len(names) else None
        if isinstance(label, (list, dict)):
            problems.add(place, f"the label is {label!r}")
            continue
        id = values[table.id] if table.id else None
        yield Row(texts, None if label in (None, "") else as_text(label), None if id is None else str(id), place)


def _texts(row: Mapping[str, Any], table: TableConfig) -> tuple[str, ...] | None:
    """The texts of a row, "" where there is none; None if one is something else."""
    texts: list[str] = []
    for columns in table.texts:
        parts = ["" if row[name] is None else row[name] for name in columns]
        if table.kind == "choice" and len(parts) == 1 and isinstance(parts[0], list):
            parts, spread = ["" if part is None else part for part in parts[0]], True
        else:
            spread = False
        if not all(isinstance(part, str) for part in parts):
            return None
        if spread:
            texts += parts
        else:
            # A row without one of the parts of a text lacks the text.
            texts.append(" ".join(parts) if all(part.strip() for part in parts) else "")
    return tuple(texts)


def text_rows(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Files of one text each, in a folder named after the label.

    Raises:
        UserError: a file is not UTF-8.
    """
    for path in files:
        folder, name = path.split("/")[-2:]
        yield {"text": _decode(store.read_bytes(path), path), "label": folder, "id": f"{folder}/{name}", PLACE: path}


def json_objects(files: Sequence[str], columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON lines: place, and column -> value.

    Raises:
        UserError: lines are not JSON objects or lack a column; names the first and their number.
    """
    problems = Problems()
    for path in files:
        with store.open_read(path) as handle:
            for number, line in enumerate(handle, 1):
                place = f"{path}, line {number}"
                if not line.strip():
                    problems.add(place, "the line is empty")
                    continue
                try:
                    row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
                except orjson.JSONDecodeError as error:
                    problems.add(place, f"not JSON ({error})")
                    continue
                if not isinstance(row, dict):
                    problems.add(place, "not a JSON object {...}")
                elif missing := [name for name in columns if name not in row]:
                    problems.add(place, f"there is no {missing[0]!r}")
                else:
                    yield place, {name: row[name] for name in columns}
    problems.check()


def json_rows(files: Sequence[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The same for an Arrow table: each value as JSON, so that a type that changes between rows is no matter."""
    for place, values in json_objects(files, columns):
        yield {name: orjson.dumps(value).decode() for name, value in values.items()} | {PLACE: place}


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None


def not_utf8(path: str, error: UnicodeDecodeError) -> UserError:
    """The error of a file in another encoding."""
    return UserError(f"not UTF-8 ({error.reason} at byte {error.start})", where=path, fix="convert it to UTF-8")
