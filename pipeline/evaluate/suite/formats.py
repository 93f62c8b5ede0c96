"""Readers of evaluation sets in the forms in which they are published: files to rows.

A row is a dictionary. What its task's kind needs is in it: `choices` and `answer` (the number of the right one) of
choices, `answers` of free form, `text` of a passage; its other fields are for templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.evaluate_suite import SetFiles
from pipeline.evaluate.suite import arithmetic, cloze, published, records
from pipeline.evaluate.suite.published import Row
from pipeline.evaluate.suite.records import Options, Record

_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, orjson.JSONDecodeError)


@dataclass(frozen=True)
class Format:
    """How a set is read.

    Attributes:
        records: path and options -> the records of the files, in order.
        row: a record and options -> one row or several; raises KeyError, TypeError, ValueError or IndexError where the
            record is not what it should be.
        files: path and options -> the files that are read.
    """

    records: Callable[[str, Options], Iterator[Record]]
    row: Callable[[Any, Options], Row | list[Row]]
    files: Callable[[str, Options], list[str]] = field(default=lambda path, options: [path])


def place(root: str, data: SetFiles) -> str:
    """Path of a set's files."""
    return data.path if data.path.startswith("/") or "://" in data.path else store.join(root, data.path)


def files_of(root: str, data: SetFiles) -> list[str]:
    """The files of a set, whether they are there or not.

    Raises:
        UserError: an unknown format, or an option of it is missing.
    """
    if data.format == "text":
        return [place(root, data)]
    form = _format(data)
    try:
        return form.files(place(root, data), data.options)
    except KeyError as error:
        raise UserError(
            f"the format {data.format!r} needs the option {error}", where=data.path, fix="give it in data.options"
        ) from None


def read_rows(root: str, data: SetFiles) -> list[Row]:
    """The rows of a set, in the order of its files.

    Raises:
        UserError: a file is missing or a record is not one of this format; names it.
    """
    form = _format(data)
    path = place(root, data)
    for file in files_of(root, data):
        if not store.exists(file):
            raise UserError("no such evaluation file", where=file, fix="get the set, or correct its data.path")
    rows: list[Row] = []
    for where, record in form.records(path, data.options):
        try:
            found = form.row(record, data.options)
            found = found if isinstance(found, list) else [found]
            for row in found:
                _check(row)
        except _WRONG as error:
            raise UserError(
                f"not a record of the format {data.format!r} ({type(error).__name__}: {error})",
                where=where,
                fix="mend or remove it, or correct data.format and data.options",
            ) from None
        rows += found
    if not rows:
        raise UserError("the set holds no examples", where=path, fix="give a file with examples")
    return rows


def read_text(root: str, data: SetFiles) -> bytes:
    """A set of running text; the option `last` keeps so many bytes of its end (enwik8, text8).

    Raises:
        UserError: the file is missing, or shorter than `last`.
    """
    path = place(root, data)
    if not store.exists(path):
        raise UserError("no such evaluation file", where=path, fix="get the set, or correct its data.path")
    text = store.read_bytes(path)
    last = data.options.get("last", len(text))
    if not isinstance(last, int) or last < 0:
        raise UserError(f"the option `last` is {last!r}, no number of bytes", where=path, fix="correct data.options")
    if last > len(text) or not text:
        raise UserError(f"the file has {len(text):,} bytes, too few", where=path, fix="give the whole file")
    return text[len(text) - last :]


def _format(data: SetFiles) -> Format:
    if data.format not in FORMATS:
        raise UserError(
            f"no such format of evaluation sets: {data.format!r}",
            where="suite.definitions",
            fix=f"use one of {', '.join(sorted(FORMATS))}",
        )
    return FORMATS[data.format]


def _check(row: Row) -> None:
    if "choices" in row:
        choices = row["choices"]
        if len(choices) < 2 or not all(isinstance(choice, str) and choice for choice in choices):
            raise ValueError("needs two or more choices, none empty")
        if not 0 <= row["answer"] < len(choices):
            raise ValueError(f"the answer {row['answer']} is none of {len(choices)} choices")
    if "answers" in row and not all(isinstance(answer, str) for answer in row["answers"] or [None]):
        raise ValueError("needs one or more answers")


FORMATS: dict[str, Format] = {
    "jsonl": Format(records.lines, published.renamed),
    "last-word": Format(records.lines, published.last_word),
    "tsv": Format(records.table("\t", quoting=False), published.labelled),
    "hellaswag": Format(records.lines, published.hellaswag),
    "hellaswag-text": Format(records.blocks(6), published.hellaswag_text),
    "piqa": Format(records.labelled_lines, published.piqa, records.labelled_files),
    "arc": Format(records.lines, published.arc),
    "race": Format(records.folder, published.race, records.folder_files),
    "copa": Format(records.lines, published.copa),
    "boolq": Format(records.lines, published.boolq),
    "winogrande": Format(records.lines, published.winogrande),
    "winograd-xml": Format(records.schemas, published.winograd),
    "story-cloze": Format(records.table(",", quoting=True), published.story_cloze),
    "trivia-qa": Format(records.whole, published.trivia_qa),
    "web-questions": Format(records.whole, published.web_questions),
    "natural-questions": Format(records.lines, published.natural_questions),
    "coqa": Format(records.whole, published.coqa),
    "cnn-dm": Format(records.folder, published.story, records.folder_files),
    "parallel": Format(
        records.parallel, lambda pair, _: {"source": pair[0], "answers": [pair[1]]}, records.parallel_files
    ),
    "cbt": Format(records.blocks(21), lambda block, _: cloze.cbt_row(block)),
    "book-cloze": Format(records.book, lambda text, options: cloze.rows_of(text, **options)),
    "arithmetic": Format(records.generated, lambda _, options: arithmetic.rows_of(**options), lambda *_: []),
}
"""Names of formats."""
