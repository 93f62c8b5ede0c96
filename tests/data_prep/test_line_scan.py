from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_prep.line_scan import LineScan


def divide(block: bytes, least: int | None = 3) -> tuple[int, int, int, list[bytes]]:
    found = LineScan(least)(memoryview(block))
    return (
        found.lines,
        found.self_posts,
        found.low_karma,
        [block[first:last] for first, last in zip(found.starts, found.ends, strict=True)],
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"is_self":true,"score":9}', "self"),
        (b'{"score": 1, "is_self": true}', "self"),
        (b'{"is_self":false,"score":2}', "low"),
        (b'{"score":-7}', "low"),
        (b'{"score": 0}', "low"),
        (b'{"is_self":false,"score":3}', "left"),
        (b'{"score":12}', "left"),
        # Whatever is not plain goes to the parser.
        (b'{"is_self":null,"score":9}', "left"),
        (b'{"score":null}', "left"),
        (b'{"score":2.0}', "left"),
        (b'{"score":2e3}', "left"),
        (b'{"score":"2"}', "left"),
        (b'{"score":2', "left"),
        (b'{"score":', "left"),
        (b'"is_self":', "left"),
        (b"{}", "left"),
        (b"no json", "left"),
        # In a string the quotes have backslashes.
        (rb'{"title":"\"score\":1,\"is_self\":true","score":5}', "left"),
        (rb'{"title":"\"is_self\":false","is_self":true}', "self"),
        (rb'{"a\"score":1,"b\"is_self":true}', "left"),
        # A post inside the post has its own fields.
        (b'{"crosspost_parent_list":[{"is_self":true,"score":1}],"is_self":false,"score":5}', "left"),
        (b'{"crosspost_parent_list":[{"is_self":false,"score":900}],"is_self":false,"score":1}', "left"),
        (b'{"crosspost_parent_list":[{"is_self":false,"score":2}],"is_self":false,"score":1}', "low"),
        (b'{"hide_score":false,"scores":1,"is_selfie":true}', "left"),
    ],
)
def test_kinds_of_lines(line: bytes, kind: str) -> None:
    expected = (1, int(kind == "self"), int(kind == "low"), [line] if kind == "left" else [])
    assert divide(line) == expected
    for before in (b"", b"x" * 50, b" " * 63):  # at any place in a chunk, and without the last newline
        assert divide(b"".join([before, b"\n", line, b"\n", b"y" * 100, b"\n"]))[3] == [
            *([before] if before else []),
            *expected[3],
            b"y" * 100,
        ]


def test_without_a_least_score_only_self_posts_are_set_aside() -> None:
    lines = [b'{"score":-5}', b'{"is_self":true}']
    assert divide(b"\n".join(lines), None) == (2, 1, 0, [lines[0]])


def test_more_lines_than_there_was_room_for() -> None:
    scan = LineScan(3)
    for count in (3, 9000, 20000, 2):
        found = scan(memoryview(b"x\n\n" * count))
        assert (found.lines, len(found.starts)) == (count, count)


posts = st.fixed_dictionaries(
    {"title": st.text(max_size=80)},
    optional={
        "score": st.none() | st.integers(-5, 5) | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
        "is_self": st.none() | st.booleans(),
        "hide_score": st.booleans(),
    },
)
whole_posts = st.builds(
    lambda post, score, is_self, parents: {
        "crosspost_parent_list": parents,
        **post,
        "score": score,
        "is_self": is_self,
    },
    posts,
    st.none() | st.integers(-5, 5) | st.integers() | st.floats(allow_nan=False),
    st.booleans(),
    st.lists(posts, max_size=2),
)


@given(st.lists(whole_posts, max_size=12), st.sampled_from([None, (",", ":")]), st.booleans(), st.integers(-3, 12))
def test_what_is_set_aside_would_not_have_been_kept(rows: list[Any], separators: Any, ascii: bool, least: int) -> None:
    lines = [json.dumps(row, separators=separators, ensure_ascii=ascii).encode() for row in rows]
    count, self_posts, low_karma, left = divide(b"\n".join(lines), least)
    assert count == len(lines) == self_posts + low_karma + len(left)
    for row, line in zip(rows, lines, strict=True):
        score = row["score"]
        kept = not row["is_self"] and (score is None or score >= least)
        assert line in left or not kept
        if not row["crosspost_parent_list"] and (row["is_self"] or (isinstance(score, int) and abs(score) < least)):
            assert line not in left  # the plain cases are all found


@given(st.lists(st.binary(max_size=150)))
@example([b'"score":', b'"is_self":'])
def test_any_bytes(lines: list[bytes]) -> None:
    block = b"\n".join(lines)
    count, self_posts, low_karma, left = divide(block)
    assert count == len([line for line in block.split(b"\n") if line]) == self_posts + low_karma + len(left)
