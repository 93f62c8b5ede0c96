"""Files -> rows {texts, label, id}, through `datasets`: Arrow tables on disk, made once for each content of a file.

Nothing is asked of a network: `datasets` gets local files and its own readers.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.task_data import Format, TableConfig, as_text
from pipeline.finetune.tasks.form import PLACE
from pipeline.finetune.tasks.problems import Problems
from pipeline.finetune.tasks.source import Source, file_digest

if TYPE_CHECKING:
    from datasets import Dataset

_REVISION = 1
"""Raised when the same file gives other rows."""
_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


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


def read_rows(source: Source, split: str, cache: str | None) -> Iterator[Row]:
    """The rows of a split, in the order of its files.

    Raises:
        UserError: a file cannot be read, or rows have no such columns; names file and row.
    """
    paths, table = source.files[split], source.table
    format = table.format or _format(paths[0])
    problems = Problems()
    if source.rows is not None or format == "texts":
        reader = source.rows or text_rows
        data = _generated(reader, {"files": list(paths)}, source.digest_of(split), table, cache)
        yield from _extract(data, table, problems)
    else:
        for path in paths:
            data = _load(path, format, table, cache)
            yield from _extract(data, table, problems, path=path, is_json=format == "jsonl")
    problems.check()


def _format(path: str) -> Format:
    """By the ending.

    Raises:
        UserError: it says nothing.
    """
    if store.is_local(path) and store.local(path).is_dir():
        return "datasets"
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if ending not in _ENDINGS:
        raise UserError(
            f"the ending {ending!r} does not say what this is (it would be {', '.join(_ENDINGS)})",
            where=path,
            fix="set task.table.format",
        )
    return _ENDINGS[ending]


def columns_of(table: TableConfig) -> list[str]:
    """The columns that a table needs, each once."""
    names = [name for columns in table.texts for name in columns] + [table.label] + ([table.id] if table.id else [])
    return list(dict.fromkeys(names))


def _load(path: str, format: Format, table: TableConfig, cache: str | None) -> Dataset:
    from datasets import Dataset, Features, Value, load_from_disk

    columns = columns_of(table)
    with _clear_errors(path, format):
        if format == "datasets":
            data = load_from_disk(path)
            if not isinstance(data, Dataset):
                raise UserError(
                    f"a folder of several splits ({', '.join(data)})",
                    where=path,
                    fix="name the folder of one, as in train: FOLDER/train",
                )
        elif format == "parquet":
            data = Dataset.from_parquet(path, cache_dir=_cache(cache, file_digest(path), table))
        elif format == "jsonl":
            reading = {"files": [path], "columns": tuple(columns)}
            data = _generated(json_rows, reading, file_digest(path), table, cache)
        else:
            delimiter = "\t" if format == "tsv" else table.delimiter
            quoting: Literal[0, 3] = csv.QUOTE_NONE if format == "tsv" else csv.QUOTE_MINIMAL
            _check_header(path, table, delimiter, quoting)
            data = Dataset.from_csv(
                path,
                features=Features({name: Value("string") for name in columns}),
                cache_dir=_cache(cache, file_digest(path), table),
                sep=delimiter,
                quoting=quoting,
                escapechar=table.escape,
                header=None if table.header else "infer",
                names=list(table.header) if table.header else None,
                keep_default_na=False,  # a review may be "NA"
            )
    missing = [name for name in columns if name not in data.column_names]
    if missing:
        raise _no_column(path, missing[0], data.column_names)
    return data


def _no_column(path: str, name: str, columns: Sequence[str]) -> UserError:
    return UserError(
        f"there is no column {name!r} (there are {', '.join(map(repr, columns))})",
        where=path,
        fix="correct task.table.texts, label or id, or name the columns in header",
    )


def _check_header(path: str, table: TableConfig, delimiter: str, quoting: Literal[0, 3]) -> None:
    """pandas would take a surplus first field of every row for an index, and say nothing.

    Raises:
        UserError: the file is empty, a column is missing, or the first row has more fields than there are columns.
    """
    csv.field_size_limit(1 << 30)
    with store.open_read(path) as handle:
        lines = io.TextIOWrapper(handle, "utf-8-sig", errors="replace", newline="")
        rows = csv.reader(lines, delimiter=delimiter, quoting=quoting, escapechar=table.escape)
        try:
            header = list(table.header) if table.header else next(rows, [])
            first = next(rows, [])
        except csv.Error as error:
            raise UserError(f"not a table ({error})", where=f"{path}, row 1", fix="mend the file") from None
    if not header or not first:
        raise UserError("the file holds no rows", where=path, fix="give a file with labelled rows")
    for name in columns_of(table):
        if name not in header:
            raise _no_column(path, name, header)
    if len(first) > len(header):
        raise UserError(
            f"{len(first)} fields, and there are {len(header)} columns",
            where=f"{path}, row 1",
            fix="mend the file, or correct task.table.delimiter or header",
        )


def _generated(
    reader: Callable[..., Iterator[dict[str, Any]]],
    arguments: dict[str, Any],
    digest: str,
    table: TableConfig,
    cache: str | None,
) -> Dataset:
    from datasets import Dataset

    with _clear_errors(arguments["files"][0], "jsonl"):
        return Dataset.from_generator(reader, gen_kwargs=arguments, cache_dir=_cache(cache, digest, table))


def _cache(folder: str | None, digest: str, table: TableConfig) -> str:
    """A folder for what this content of a file gives when it is read this way."""
    from datasets import config

    key = store.digest({"file": digest, "table": table.model_dump(mode="json"), "revision": _REVISION})
    return os.path.join(folder or str(config.HF_DATASETS_CACHE), "labelled", key[:32])  # noqa: PTH118


def text_rows(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Files of one text each, in a folder named after the label.

    Raises:
        UserError: a file is not UTF-8.
    """
    for path in files:
        folder, name = path.split("/")[-2:]
        yield {"text": _decode(store.read_bytes(path), path), "label": folder, "id": f"{folder}/{name}", PLACE: path}


def json_rows(files: Sequence[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """JSON lines; the columns as JSON each, so that a type that changes between rows is no matter.

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
                    yield {name: orjson.dumps(row[name]).decode() for name in columns} | {PLACE: place}
    problems.check()


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None


def _not_utf8(path: str, error: UnicodeDecodeError) -> UserError:
    return UserError(f"not UTF-8 ({error.reason} at byte {error.start})", where=path, fix="convert it to UTF-8")


@contextmanager
def _clear_errors(path: str, format: str) -> Iterator[None]:
    """`datasets` without bars and log, and what it or its readers raise as one clear line."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    try:
        yield
    except UserError:
        raise
    except DatasetGenerationError as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, OSError):
            raise cause from None
        if isinstance(cause, UnicodeDecodeError):
            raise _not_utf8(path, cause) from None
        raise UserError(f"not a {format} file ({cause})", where=path, fix="mend the file") from None
    except (ValueError, FileNotFoundError) as error:
        if "corresponds to no data" in str(error):
            raise UserError("the file holds no rows", where=path, fix="give a file with labelled rows") from None
        raise UserError(f"not a {format} file ({error})", where=path, fix="mend the file") from None
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _extract(
    data: Dataset, table: TableConfig, problems: Problems, path: str | None = None, is_json: bool = False
) -> Iterator[Row]:
    """Rows of a table at `path`, or of what a reader gave, which says the places itself."""
    wanted = columns_of(table)
    has_places = is_json or path is None
    columns: Mapping[str, list[Any]] = data.select_columns([*wanted, PLACE] if has_places else wanted)[:]
    names = getattr(data.features[table.label], "names", None)  # of a ClassLabel
    for i in range(len(data)):
        place = columns[PLACE][i] if has_places else f"{path}, row {i + 1}"
        row = {name: orjson.loads(columns[name][i]) if is_json else columns[name][i] for name in wanted}
        texts = _texts(row, table)
        if texts is None:
            problems.add(place, "a text is not a text")
            continue
        label = row[table.label]
        if label is not None and names is not None and isinstance(label, int):
            label = names[label] if 0 <= label < len(names) else None
        if isinstance(label, (list, dict)):
            problems.add(place, f"the label is {label!r}")
            continue
        id = row[table.id] if table.id else None
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
