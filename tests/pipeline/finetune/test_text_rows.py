from __future__ import annotations

import pytest

from data_prep.errors import UserError
from pipeline.finetune.text_rows import EMPTY, TextRow, read_rows


def rows(
    text: str, kind: str = "classification", form: str | None = None, columns: tuple[str, ...] = ()
) -> list[TextRow]:
    lines = text.splitlines(keepends=True)
    return list(read_rows(lines, kind, form, columns, "in"))  # type: ignore[arg-type]


def test_json_lines_csv_tabs_and_plain_lines() -> None:
    json_lines = '{"text": "a", "label": 1}\n\n{"text": "b"}\n'
    assert rows(json_lines) == [TextRow(1, ("a",), "1"), TextRow(2, ("b",))]
    csv = 'text,label\n"a, b",yes\n"two\nlines",no\n'
    assert rows(csv, form="csv") == [TextRow(1, ("a, b",), "yes"), TextRow(2, ("two\nlines",), "no")]
    assert rows('text\tother\n"a\tx\n', form="tsv") == [TextRow(1, ('"a',))]
    assert rows("a\nb\r\n") == [TextRow(1, ("a",)), TextRow(2, ("b",))]
    assert rows("") == []
    long = "a " * 200_000
    assert rows(f"text\n{long}\n", form="csv") == [TextRow(1, (long,))]


def test_columns_of_each_kind_and_by_name() -> None:
    assert rows('{"premise": "a", "hypothesis": "b"}', "entailment") == [TextRow(1, ("a", "b"))]
    assert rows('{"a": "a", "b": "b", "label": 4.5}', "similarity") == [TextRow(1, ("a", "b"), "4.5")]
    assert rows('{"context": "a", "candidates": ["b", "c"]}', "choice") == [TextRow(1, ("a", "b", "c"))]
    assert rows("q,x,y\na,b,c\n", "choice", "csv", ("q", "x", "y")) == [TextRow(1, ("a", "b", "c"))]
    assert rows('{"review": "a"}', columns=("review",)) == [TextRow(1, ("a",))]


def test_empty_texts_are_rows_with_a_problem() -> None:
    assert rows("a\n\n") == [TextRow(1, ("a",)), TextRow(2, ("",), problem=EMPTY)]
    assert rows('{"premise": "a", "hypothesis": " "}', "entailment")[0].problem == EMPTY


@pytest.mark.parametrize(
    ("text", "kind", "form", "message"),
    [
        ('{"text": "a"}\n{"text"', "classification", None, r"in, line 2: not JSON"),
        ("[1]", "classification", "jsonl", r"in, line 1: not a JSON object"),
        ('{"txt": "a"}', "classification", None, r"in, line 1: there is no 'text'; give text, or name the columns"),
        ('{"text": 5}', "classification", None, r"in, line 1: 'text' is not text"),
        ("a\n\udcff\n", "classification", None, r"in, line 2: not UTF-8; convert the input"),
        ("text\na\udcff\n", "classification", "csv", r"in, line 2: not UTF-8"),
        ('{"text": "\udcff"}', "classification", None, r"in, line 1: not JSON"),
        ("a", "entailment", None, r"in: .*a plain line holds one text; give JSON lines or CSV with .*premise"),
        ("text,label\na\n", "classification", "csv", r"in, line 2: more or fewer fields than the header"),
        ('text\n"a"b\n', "classification", "csv", r"in, line 2: not CSV"),
        ('{"context": "a", "candidates": ["b"]}', "choice", None, r"2 texts, and choice has at least 3"),
    ],
)
def test_a_bad_line_is_named(text: str, kind: str, form: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows(text, kind, form)


def test_plain_lines_have_no_columns() -> None:
    """Else the header of a table that comes without a name would be a text."""
    with pytest.raises(UserError, match="--column: plain lines have no columns; give --format csv"):
        rows("id,review\n1,fine\n", columns=("review",))
