"""Files -> rows {texts, label, id}, through `datasets`: Arrow tables on disk, made once for each content of a file.

Nothing is asked of a network: `datasets` gets local files and its own readers.
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import orjson

from data_prep import store
from data_prep.errors import UserError, full_disk
from pipeline.config.task_data import PLAIN, Format, TableConfig
from pipeline.finetune.tasks.form import PLACE
from pipeline.finetune.tasks.problems import Problems
from pipeline.finetune.tasks.rows import Row, columns_of, extract, json_objects, json_rows, not_utf8, text_rows
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


def read_rows(source: Source, split: str, cache: str | None) -> Iterator[Row]:
    """The rows of a split, in the order of its files.

    Raises:
        UserError: a file cannot be read, or rows have no such columns; names file and row.
    """
    paths, table, wanted = source.files[split], source.table, columns_of(source.table)
    problems = Problems()
    if table is PLAIN:  # a handful of rows that data preparation made: not worth a table on disk
        yield from extract(json_objects(paths, wanted), table, problems)
        problems.check()
        return
    format = table.format or _format(paths[0])
    if source.rows is not None or format == "texts":
        data = _generated(source.rows or text_rows, {"files": list(paths)}, source.digest_of(split), table, cache)
        columns = data.select_columns([*wanted, PLACE])[:]
        yield from extract(zip(columns.pop(PLACE), _lines(columns), strict=True), table, problems)
    else:
        for path in paths:
            data = _load(path, format, table, cache)
            if format == "jsonl":
                columns = data.select_columns([*wanted, PLACE])[:]
                places = columns.pop(PLACE)
                values = ({name: orjson.loads(value) for name, value in line.items()} for line in _lines(columns))
                yield from extract(zip(places, values, strict=True), table, problems)
                continue
            numbered = enumerate(_lines(data.select_columns(wanted)[:]), 1)
            names = getattr(data.features[table.label], "names", None)  # of a ClassLabel
            yield from extract(((f"{path}, row {n}", line) for n, line in numbered), table, problems, names)
    problems.check()


def _lines(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Columns -> rows."""
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def _format(path: str) -> Format:
    """By the ending.

    Raises:
        UserError: it says nothing.
    """
    if store.is_local(path) and store.local(path).is_dir():
        return "datasets"
    ending = posixpath.splitext(path)[1].lower()
    if ending not in _ENDINGS:
        raise UserError(
            f"the ending {ending!r} does not say what this is (it would be {', '.join(_ENDINGS)})",
            where=path,
            fix="set task.table.format",
        )
    return _ENDINGS[ending]


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

    with _clear_errors(arguments["files"][0], table.format or "jsonl"):
        return Dataset.from_generator(reader, gen_kwargs=arguments, cache_dir=_cache(cache, digest, table))


def _cache(folder: str | None, digest: str, table: TableConfig) -> str:
    """A folder for what this content of a file gives when it is read this way."""
    from datasets import config

    key = store.digest({"file": digest, "table": table.model_dump(mode="json"), "revision": _REVISION})
    return store.join(folder or str(config.HF_DATASETS_CACHE), "labelled", key[:32])


@contextmanager
def _clear_errors(path: str, format: str) -> Iterator[None]:
    """`datasets` without bars and log, and what it or its readers raise as one clear line.

    Raises:
        UserError: the file is not what it should be, or cannot be read or cached.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    try:
        yield
    except DatasetGenerationError as error:
        raise _clear(error.__cause__ or error, path, format) from None
    except (ValueError, OSError) as error:
        raise _clear(error, path, format) from None
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _clear(error: BaseException, path: str, format: str) -> BaseException:
    """What a reader of `datasets` raised, in the user's terms."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, UnicodeDecodeError):
        return not_utf8(path, error)
    if isinstance(error, ValueError) and "corresponds to no data" in str(error):
        return UserError("the file holds no rows", where=path, fix="give a file with labelled rows")
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and not isinstance(error, ValueError):
        fix = "check the rights, or set task.cache to a folder that can be written"
        full = full_disk(error, str(error.filename or path))
        return full or UserError(f"cannot be read or cached ({error})", where=path, fix=fix)
    return UserError(f"not a {format} file ({error})", where=path, fix="mend the file")
