"""Evaluation sets as the user gives them, and the stage that makes their n-grams."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BeforeValidator, Field, model_validator

from data_prep import store
from data_prep.configfile import Settings
from data_prep.dedup.keep import read_table
from data_prep.documents import READ_ROWS
from data_prep.dumps import DumpReader
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef, Totals
from data_prep.ngrams import Form, Hashes, ngram_hashes
from data_prep.raw_input import raw_files
from data_prep.stage import Stage, Task, TaskOutput

NGRAM = pa.schema(
    [
        pa.field("set", pa.string(), nullable=False),
        pa.field("hash", pa.uint64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""An n-gram of an evaluation set and how often it stands there; sorted by set and hash."""
DISTINCT = pa.schema([pa.field("hash", pa.uint64(), nullable=False)])
"""Distinct n-grams, sorted."""
TEXT = ("text",)
_COMPRESSED = (".zst", ".xz", ".bz2", ".gz")


def _one_is_a_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_one_is_a_list), Field(min_length=1)]
"""One or several strings."""


class EvaluationSettings(Settings):
    """The evaluation sets that `overlap` and `decontaminate` look for."""

    sets: dict[str, Strings] = Field(default_factory=dict)
    """Name -> a path, folder or glob, or several: Parquet, JSON lines or plain text, the latter two also compressed."""
    fields: dict[str, Strings] = Field(default_factory=dict)
    """Name of a set -> fields (columns) that make up a document, each a string or a list of strings; else `text`."""
    lines: tuple[str, ...] = ()
    """Names of sets of plain text in which each line is a document; in others each file is one."""

    @model_validator(mode="after")
    def _names_are_of_sets(self) -> EvaluationSettings:
        if not self.sets:
            raise ValueError("evaluation.sets names no set: give at least one, {name: path}")
        for name in (*self.fields, *self.lines):
            if name not in self.sets:
                raise ValueError(f"{name!r} is none of evaluation.sets ({', '.join(self.sets)})")
        return self


class NgramsSettings(EvaluationSettings):
    """`EvaluationSettings` and the length of the n-grams."""

    ngram: int


class EvaluationNgramsStage(Stage):
    """Evaluation sets to n-grams: of each set with counts (`ngrams.parquet`), of all (`distinct.parquet`). One task.

    N-grams do not go across documents. Memory: the largest file, if it is plain text, and 40 bytes for each n-gram of
    the largest set, repeats included.
    """

    settings: NgramsSettings
    form: ClassVar[Form]

    def plan(self) -> list[Task]:
        """One task that reads all sets.

        Raises:
            UserError: a file is not there.
        """
        sets = self.settings.sets
        return [Task(0, {name: raw_files(f"evaluation.sets.{name}", sets[name]) for name in sorted(sets)}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Make the n-grams of all sets.

        Raises:
            UserError: a file does not hold documents, or a set has none.
            CorruptFile: a file is cut short or damaged.
        """
        settings = self.settings
        rows = out.rows("ngrams.parquet", NGRAM)
        every = np.empty(0, np.uint64)
        read, files = 0, sum(len(refs) for refs in task.inputs.values())
        for name, refs in task.inputs.items():
            parts = [np.empty(0, np.uint64)]
            documents = 0
            for ref in refs:
                for text in documents_of(ref.path, settings.fields.get(name, TEXT), name in settings.lines):
                    parts.append(ngram_hashes(text, settings.ngram, self.form))
                    documents += 1
                    out.advance(read, files, "files")
                read += 1
            out.rows_in += documents
            if not documents:
                raise UserError(
                    "its files hold no document",
                    where=f"evaluation.sets.{name}",
                    fix="check them, or leave the set out",
                )
            hashes, counts = np.unique(np.concatenate(parts), return_counts=True)
            out.extra[f"{name}:documents"] = documents
            out.extra[f"{name}:ngrams"] = int(counts.sum())
            rows.add_table(pa.table([pa.repeat(pa.scalar(name), len(hashes)), hashes, counts], schema=NGRAM))
            every = np.union1d(every, hashes)
        out.rows("distinct.parquet", DISTINCT).add_table(pa.table([every], schema=DISTINCT))
        out.rows_out = len(every)

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """How large each set is, and which sets cannot be found."""
        n, names = self.settings.ngram, sorted(self.settings.sets)
        ngrams = {name: totals.extra[f"{name}:ngrams"] for name in names}
        found = {name: f"{totals.extra[f'{name}:documents']:,} documents, {ngrams[name]:,} {n}-grams" for name in names}
        short = [name for name in names if not ngrams[name]]
        if short:
            found["warning"] = f"no document of {', '.join(short)} has {n} words: nothing of it can be found"
        return found


def read_ngrams(refs: Sequence[FileRef]) -> pa.Table:
    """The n-grams of all sets, as `NGRAM`."""
    return read_table(refs, NGRAM)


def read_distinct(refs: Sequence[FileRef]) -> Hashes:
    """The n-grams in files of `DISTINCT`, sorted."""
    hashes = np.empty(0, np.uint64)
    for ref in refs:
        hashes = np.union1d(hashes, read_table([ref], DISTINCT).column("hash").to_numpy())
    return hashes


def documents_of(path: str, fields: Sequence[str] = TEXT, by_line: bool = False) -> Iterator[str]:
    """The documents of one file of an evaluation set.

    Args:
        path: Parquet (.parquet), JSON lines (.jsonl, .ndjson, .json), else plain text.
        fields: of Parquet and JSON lines: what makes up a document, joined by a line end.
        by_line: of plain text: whether each line is a document.

    Raises:
        UserError: the file does not hold what it should; names the line.
        CorruptFile: it is cut short or damaged.
    """
    stem, ending = posixpath.splitext(path)
    if ending in _COMPRESSED:
        ending = posixpath.splitext(stem)[1]
    if ending == ".parquet":
        yield from _parquet(path, fields)
    elif ending in (".jsonl", ".ndjson", ".json"):
        yield from _json_lines(path, fields)
    elif by_line:
        yield from _plain(path)
    else:
        yield "\n".join(_plain(path))


def _joined(row: Mapping[str, Any], fields: Sequence[str], where: str) -> str:
    parts: list[str] = []
    for field in fields:
        value = row.get(field)
        values: list[Any] = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in values):
            raise UserError(
                f"the field {field!r} is not there, or neither a string nor a list of strings",
                where=where,
                fix="name the fields of the set in evaluation.fields",
            )
        parts += values
    return "\n".join(parts)


def _parquet(path: str, fields: Sequence[str]) -> Iterator[str]:
    try:
        with store.open_read(path) as handle:
            parquet = pq.ParquetFile(handle)
            number = 0
            present = [field for field in fields if field in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(batch_size=READ_ROWS, columns=present):
                for row in batch.to_pylist():
                    number += 1
                    yield _joined(row, fields, f"{path}, row {number:,}")
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"cannot be read as Parquet ({error})", where=path, fix="make the file again") from None


def _json_lines(path: str, fields: Sequence[str]) -> Iterator[str]:
    with DumpReader(path) as dump:
        for number, line in enumerate(dump, 1):
            where = f"{path}, line {number:,}"
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                row = None
            if not isinstance(row, dict):
                raise UserError("is not a JSON object", where=where, fix="give one document a line")
            yield _joined(row, fields, where)


def _plain(path: str) -> Iterator[str]:
    with DumpReader(path) as dump:
        for line in dump:
            try:
                yield line.decode()
            except UnicodeDecodeError:
                raise UserError("is not UTF-8 text", where=path, fix="give text, JSON lines or Parquet") from None
