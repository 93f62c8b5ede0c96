"""Readers of evaluation sets in the forms in which they are published: files to rows.

A row is a dictionary. What its task's kind needs is in it: `choices` and `answer` (the number of the right one) of
choices, `answers` of free form, `text` of a passage; its other fields are for templates.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.etree import ElementTree

import orjson

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.evaluate_suite import SetFiles
from pipeline.evaluate.suite import arithmetic, cloze

Row = dict[str, Any]
Options = Mapping[str, Any]
Record = tuple[str, Any]
"""(what names it in an error, its content)."""
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
        UserError: an unknown format.
    """
    return _format(data).files(place(root, data), data.options) if data.format != "text" else [place(root, data)]


def read_rows(root: str, data: SetFiles) -> list[Row]:
    """The rows of a set, in the order of its files.

    Raises:
        UserError: a file is missing or a record is not one of this format; names it.
    """
    form = _format(data)
    path = place(root, data)
    for file in form.files(path, data.options):
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
    last = int(data.options.get("last", len(text)))
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


# Containers


def _lines(path: str, options: Options) -> Iterator[Record]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line


def _json(path: str, options: Options) -> Iterator[Record]:
    yield path, _text(path)


def _blocks(size: int) -> Callable[[str, Options], Iterator[Record]]:
    """Records of so many lines; empty ones between them do not count."""

    def read(path: str, options: Options) -> Iterator[Record]:
        block: list[str] = []
        for number, line in enumerate(_text(path).splitlines(), 1):
            if line.strip():
                block.append(line)
            if len(block) == size:
                yield f"{path}, line {number}", block
                block = []
        if block:
            yield f"{path}, end of file", block

    return read


def _table(delimiter: str, quoting: bool) -> Callable[[str, Options], Iterator[Record]]:
    """Rows with their column names; the option `columns` names those of a file without a header."""

    def read(path: str, options: Options) -> Iterator[Record]:
        text = io.StringIO(_text(path), newline="")
        columns: list[str] | None = options.get("columns")
        style: Literal[0, 3] = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
        reader = csv.DictReader(text, columns, delimiter=delimiter, quoting=style)
        for record in reader:
            yield f"{path}, line {reader.line_num}", record

    return read


def _folder(path: str, options: Options) -> Iterator[Record]:
    for file in _folder_files(path, options):
        yield file, _text(file)


def _folder_files(path: str, options: Options) -> list[str]:
    return sorted(store.listing(path)) or [path]


def _text(path: str) -> str:
    try:
        return store.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text ({error.reason})", where=path, fix="give the file as published") from None


# Forms of single sets


def _renamed(line: str, options: Options) -> Row:
    """Any JSON lines. `rename`: our field -> theirs; `answers` may name a string or a list of strings."""
    row = dict(orjson.loads(line))
    for ours, theirs in options.get("rename", {}).items():
        row[ours] = row[theirs]
    if isinstance(row.get("answers"), str):
        row["answers"] = [row["answers"].strip()]
    return row


def _labelled(record: Mapping[str, str], options: Options) -> Row:
    """A table with a label. `labels`: what each becomes as a choice, in the order of the numbers."""
    row: Row = dict(record)
    row["label"] = int(row["label"])
    if "labels" in options:
        row |= {"choices": list(options["labels"]), "answer": row["label"]}
    return row


def _hellaswag(line: str, options: Options) -> Row:
    record = orjson.loads(line)
    context = f"{record['activity_label']}: {record['ctx_a']} {record['ctx_b'].capitalize()}"
    return {
        "context": _without_brackets(context),
        "choices": [_without_brackets(ending) for ending in record["endings"]],
        "answer": int(record["label"]),
    }


def _without_brackets(text: str) -> str:
    """WikiHow's marks taken out, as lm-evaluation-harness does."""
    return re.sub(r" +", " ", re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))).strip()


def _hellaswag_text(block: list[str], options: Options) -> Row:
    context, label, *endings = block
    return {"context": context, "choices": endings, "answer": int(label)}


def _piqa_records(path: str, options: Options) -> Iterator[Record]:
    labels = _text(_piqa_labels(path)).split()
    for (where, line), label in zip(_lines(path, options), labels, strict=True):
        yield where, (line, label)


def _piqa_labels(path: str) -> str:
    return path.removesuffix(".jsonl") + "-labels.lst"


def _piqa(record: tuple[str, str], options: Options) -> Row:
    row = orjson.loads(record[0])
    return {"goal": row["goal"], "choices": [row["sol1"], row["sol2"]], "answer": int(record[1])}


def _arc(line: str, options: Options) -> Row:
    record = orjson.loads(line)
    choices = record["question"]["choices"]
    labels = [choice["label"] for choice in choices]
    return {
        "question": record["question"]["stem"],
        "choices": [choice["text"] for choice in choices],
        "answer": labels.index(record["answerKey"]),
    }


def _race(text: str, options: Options) -> list[Row]:
    record = orjson.loads(text)
    solved = ""
    rows = []
    for question, choices, key in zip(record["questions"], record["options"], record["answers"], strict=True):
        answer = "ABCD".index(key)
        rows.append(
            {"article": record["article"], "solved": solved, "question": question, "choices": choices, "answer": answer}
        )
        # GPT-3 (G.1): the passage's other questions stand solved before this one.
        solved += f"Q: {question}\n\nA: {choices[answer]}\n\n"
    return rows


def _copa(line: str, options: Options) -> Row:
    record = orjson.loads(line)
    joint = {"cause": "because", "effect": "therefore"}[record["question"]]
    choices = [record["choice1"], record["choice2"]]
    return {
        "premise": record["premise"].strip().removesuffix("."),
        "joint": joint,
        "choices": [choice[0].lower() + choice[1:] for choice in choices],
        "answer": int(record["label"]),
    }


def _boolq(line: str, options: Options) -> Row:
    record = orjson.loads(line)
    if not isinstance(record["answer"], bool):
        raise ValueError("answer is neither true nor false")
    return {**record, "choices": ["no", "yes"], "answer": int(record["answer"])}


def _winogrande(line: str, options: Options) -> Row:
    record = orjson.loads(line)
    before, after = record["sentence"].split("_")
    choices = [record["option1"], record["option2"]]
    return {"before": before, "after": after.strip(), "choices": choices, "answer": int(record["answer"]) - 1}


def _winograd_records(path: str, options: Options) -> Iterator[Record]:
    try:
        root = ElementTree.fromstring(_text(path))
    except ElementTree.ParseError as error:
        raise UserError(f"not XML ({error})", where=path, fix="give WSCollection.xml") from None
    for number, schema in enumerate(root.iter("schema"), 1):
        yield f"{path}, schema {number}", schema


def _winograd(schema: ElementTree.Element, options: Options) -> Row:
    def text(tag: str) -> str:
        found = schema.findtext(f".//{tag}")
        if found is None:
            raise KeyError(tag)
        return " ".join(found.split())

    before, after = text("text/txt1"), text("text/txt2")
    choices = [" ".join((answer.text or "").split()) for answer in schema.iter("answer")]
    if text("text/pron").lower() in ("his", "her", "their", "its"):
        choices = [f"{choice}'s" for choice in choices]
    if before:
        # Within a sentence a referent begins as an article would.
        choices = [re.sub(r"^(The|A|An|My|His|Her|Our|Their)\b", lambda m: m[0].lower(), choice) for choice in choices]
        before += " "
    answer = "AB".index(text("correctAnswer").strip(" ."))
    return {"before": before, "after": after, "choices": choices, "answer": answer}


def _story_cloze(record: Mapping[str, str], options: Options) -> Row:
    return {
        "context": " ".join(record[f"InputSentence{number}"] for number in (1, 2, 3, 4)),
        "choices": [record["RandomFifthSentenceQuiz1"], record["RandomFifthSentenceQuiz2"]],
        "answer": int(record["AnswerRightEnding"]) - 1,
    }


def _trivia_qa(text: str, options: Options) -> list[Row]:
    rows = []
    for record in orjson.loads(text)["Data"]:
        answer = record["Answer"]
        rows.append({"question": record["Question"], "answers": [answer["Value"], *answer["Aliases"]]})
    return rows


def split_passage(text: str) -> tuple[str, str]:
    """(context, last word), without the space between.

    Raises:
        ValueError: it has one word only.
    """
    context, _, word = text.rstrip().rpartition(" ")
    if not context.strip() or not word:
        raise ValueError("a passage needs more than one word")
    return context, word


def _last_word(line: str, options: Options) -> Row:
    record = orjson.loads(line)
    context, word = split_passage(record["text"])
    return {"text": record["text"], "context": context, "answers": [word]}


def _natural_questions(line: str, options: Options) -> Row:
    record = orjson.loads(line)
    return {"question": record["question"], "answers": list(record["answer"])}


def _coqa(text: str, options: Options) -> list[Row]:
    rows = []
    for record in orjson.loads(text)["data"]:
        history = ""
        others = record.get("additional_answers", {}).values()
        for turn, (question, answer) in enumerate(zip(record["questions"], record["answers"], strict=True)):
            answers = [answer["input_text"], *(other[turn]["input_text"] for other in others)]
            rows.append(
                {
                    "story": record["story"],
                    "history": history,
                    "question": question["input_text"],
                    "answers": answers,
                }
            )
            history += f"Q: {question['input_text']}\nA: {answer['input_text']}\n"
    return rows


def _story(text: str, options: Options) -> Row:
    article, *highlights = (part.strip() for part in text.split("@highlight"))
    if not highlights:
        raise ValueError("no @highlight")
    return {"article": article, "answers": ["\n".join(highlights)]}


def _parallel_files(path: str, options: Options) -> list[str]:
    return [f"{path}.{options['source']}", f"{path}.{options['target']}"]


def _parallel_records(path: str, options: Options) -> Iterator[Record]:
    source, target = (_text(file).splitlines() for file in _parallel_files(path, options))
    if len(source) != len(target):
        raise UserError(f"{len(source)} and {len(target)} lines in parallel files", where=path, fix="give equal ones")
    for number, pair in enumerate(zip(source, target, strict=True), 1):
        yield f"{path}, line {number}", pair


def _cloze_records(path: str, options: Options) -> Iterator[Record]:
    yield path, cloze.plain_book(_text(path))


def _generated_records(path: str, options: Options) -> Iterator[Record]:
    yield "the options of generated arithmetic", None


FORMATS: dict[str, Format] = {
    "jsonl": Format(_lines, _renamed),
    "last-word": Format(_lines, _last_word),
    "tsv": Format(_table("\t", quoting=False), _labelled),
    "hellaswag": Format(_lines, _hellaswag),
    "hellaswag-text": Format(_blocks(6), _hellaswag_text),
    "piqa": Format(_piqa_records, _piqa, lambda path, options: [path, _piqa_labels(path)]),
    "arc": Format(_lines, _arc),
    "race": Format(_folder, _race, _folder_files),
    "copa": Format(_lines, _copa),
    "boolq": Format(_lines, _boolq),
    "winogrande": Format(_lines, _winogrande),
    "winograd-xml": Format(_winograd_records, _winograd),
    "story-cloze": Format(_table(",", quoting=True), _story_cloze),
    "trivia-qa": Format(_json, _trivia_qa),
    "natural-questions": Format(_lines, _natural_questions),
    "coqa": Format(_json, _coqa),
    "cnn-dm": Format(_folder, _story, _folder_files),
    "parallel": Format(_parallel_records, lambda pair, _: {"source": pair[0], "answers": [pair[1]]}, _parallel_files),
    "cbt": Format(_blocks(21), lambda block, _: cloze.cbt_row(block)),
    "book-cloze": Format(_cloze_records, lambda text, options: cloze.rows_of(text, **options)),
    "arithmetic": Format(_generated_records, lambda _, options: arithmetic.rows_of(**options), lambda *_: []),
}
"""Names of formats."""
