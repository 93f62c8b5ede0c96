"""Files of evaluation sets cut into records: lines, tables, blocks, folders, parallel files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from xml.etree import ElementTree

from data_prep import store
from data_prep.errors import UserError
from pipeline.evaluate.suite import cloze

Options = Mapping[str, Any]
Record = tuple[str, Any]
"""(what names it in an error, its content)."""


def text_of(path: str) -> str:
    """The text of a file.

    Raises:
        UserError: it is not UTF-8.
    """
    try:
        return store.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text ({error.reason})", where=path, fix="give the file as published") from None


def lines_of(path: str) -> list[str]:
    """The lines of a file, which end with "\\n" or "\\r\\n": `splitlines` would split at other characters too."""
    return text_of(path).replace("\r\n", "\n").removesuffix("\n").split("\n")


def lines(path: str, options: Options) -> Iterator[Record]:
    """Each line that is not empty."""
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            yield f"{path}, line {number}", line


def whole(path: str, options: Options) -> Iterator[Record]:
    """The file as one record."""
    yield path, text_of(path)


def blocks(size: int) -> Callable[[str, Options], Iterator[Record]]:
    """Records of so many lines; empty ones between them do not count."""

    def read(path: str, options: Options) -> Iterator[Record]:
        block: list[str] = []
        for number, line in enumerate(lines_of(path), 1):
            if line.strip():
                block.append(line)
            if len(block) == size:
                yield f"{path}, line {number}", block
                block = []
        if block:
            yield f"{path}, end of file", block

    return read


def table(delimiter: str, quoting: bool) -> Callable[[str, Options], Iterator[Record]]:
    """Rows with their column names; the option `columns` names those of a file without a header."""

    def read(path: str, options: Options) -> Iterator[Record]:
        text = io.StringIO(text_of(path), newline="")
        columns: list[str] | None = options.get("columns")
        style: Literal[0, 3] = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
        reader = csv.DictReader(text, columns, delimiter=delimiter, quoting=style)
        try:
            for record in reader:
                yield f"{path}, line {reader.line_num}", record
        except csv.Error as error:
            where = f"{path}, line {reader.line_num + 1}"
            raise UserError(f"not a row of a table ({error})", where=where, fix="give the file as published") from None

    return read


def folder(path: str, options: Options) -> Iterator[Record]:
    """Each file of a folder."""
    for file in folder_files(path, options):
        yield file, text_of(file)


def folder_files(path: str, options: Options) -> list[str]:
    """The files of a folder; the folder itself if there are none."""
    return sorted(store.listing(path)) or [path]


def labelled_lines(path: str, options: Options) -> Iterator[Record]:
    """(line, its label in the file beside it), as PIQA has them."""
    rows, labels = list(lines(path, options)), text_of(labelled_files(path, options)[1]).split()
    if len(rows) != len(labels):
        raise UserError(f"{len(rows)} lines and {len(labels)} labels", where=path, fix="give the files of one split")
    for (where, line), label in zip(rows, labels, strict=True):
        yield where, (line, label)


def labelled_files(path: str, options: Options) -> list[str]:
    """The lines, and their labels."""
    return [path, path.removesuffix(".jsonl") + "-labels.lst"]


def schemas(path: str, options: Options) -> Iterator[Record]:
    """Each <schema> of an XML file."""
    try:
        root = ElementTree.fromstring(text_of(path))
    except ElementTree.ParseError as error:
        raise UserError(f"not XML ({error})", where=path, fix="give WSCollection.xml") from None
    for number, schema in enumerate(root.iter("schema"), 1):
        yield f"{path}, schema {number}", schema


def parallel(path: str, options: Options) -> Iterator[Record]:
    """(line, the same line in the other language)."""
    source, target = (lines_of(file) for file in parallel_files(path, options))
    if len(source) != len(target):
        raise UserError(f"{len(source)} and {len(target)} lines in parallel files", where=path, fix="give equal ones")
    for number, pair in enumerate(zip(source, target, strict=True), 1):
        yield f"{path}, line {number}", pair


def parallel_files(path: str, options: Options) -> list[str]:
    """The files of the options `source` and `target`, which are their endings."""
    return [f"{path}.{options['source']}", f"{path}.{options['target']}"]


def book(path: str, options: Options) -> Iterator[Record]:
    """A book without what Project Gutenberg puts around it."""
    yield path, cloze.plain_book(text_of(path))


def generated(path: str, options: Options) -> Iterator[Record]:
    """One record that says nothing: the rows come from the options."""
    yield "the options of generated arithmetic", None
