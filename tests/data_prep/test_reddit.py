from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from front_chain import PARTITIONS, post, refs, write_dump
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from data_prep.links import LinksSettings
from data_prep.manifest import StageManifest
from data_prep.reddit import SUBMISSION, RowRules, SubmissionsSettings, SubmissionsStage, unescape
from data_prep.runner import run_stage
from data_prep.urls import partition_of


def decide(row: object, **settings: Any) -> Any:
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    return RowRules(SubmissionsSettings(**settings))(line)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"url": "http://a.com", "score"', "not-json"),
        (b"\xff\xfe\x00", "not-json"),
        (b'{"media": ' * 100_000, "not-json"),
        (b'{"score": {"a": 1}}', "bad-field"),
        (b"[1]", "bad-field"),
        (post("http://reddit.com/r/x/comments/1", is_self=True), "self-post"),
        ({"id": "1", "url": "http://a.com", "domain": "self.x", "score": 5, "created_utc": 1}, "self-post"),
        (post(None), "no-url"),
        (post(""), "no-url"),
        ({"score": 5, "created_utc": 1}, "no-url"),
        (post("http://a.com", None), "no-score"),
        (post("http://a.com", 10**30), "no-score"),
        (post("http://a.com", created_utc=None), "no-date"),
        (post("http://a.com", created_utc="soon"), "no-date"),
        (post("http://a.com", created_utc="nan"), "no-date"),
        (post("/r/pics/comments/1"), "bad-url"),
        (post("http://a b"), "bad-url"),
        (post("http://www.reddit.com/r/x/"), "link-to-reddit"),
        (post("http://i.redd.it/1.png"), "link-to-reddit"),
    ],
)
def test_reasons(row: object, reason: str) -> None:
    assert decide(row) == reason


@pytest.mark.parametrize("created", [1389000000, "1389000000", 1389000000.0, "1389000000.0"])
def test_every_spelling_of_the_date(created: object) -> None:
    assert decide(post("http://a.com", created_utc=created))["created_utc"] == 1389000000


def test_a_row() -> None:
    row = decide(post("http://www.a.com/?b=1&amp;utm_source=r&amp;copy=2#x", 7, id="q9"))
    assert row["url"] == "https://a.com/?b=1&copy=2"
    assert row["posted_url"] == "http://www.a.com/?b=1&utm_source=r&copy=2#x"
    assert (row["score"], row["subreddit"], row["submission"]) == (7, "test", "q9")


def test_missing_subreddit_and_crosspost_target() -> None:
    row = decide({"url": "/r/a", "url_overridden_by_dest": "http://b.com/", "score": 3.0, "created_utc": 5})
    assert (row["url"], row["subreddit"], row["score"], row["submission"]) == ("https://b.com/", None, 3, "")


def test_entities_of_reddit_only() -> None:
    assert unescape("a?x=1&amp;y=&lt;2&gt;&quot;&#39;&copy=3&eacute;") == "a?x=1&y=<2>\"'&copy=3&eacute;"
    assert unescape("&amp;lt;") == "&lt;"


def test_date_window_and_over_18() -> None:
    new_year = 1_514_764_800  # 2018-01-01 00:00 UTC
    assert decide(post("http://a.com", created_utc=new_year), before=date(2018, 1, 1)) == "too-late"
    assert isinstance(decide(post("http://a.com", created_utc=new_year - 1), before=date(2018, 1, 1)), dict)
    assert decide(post("http://a.com", over_18=True), over_18=False) == "over-18"
    assert isinstance(decide(post("http://a.com", over_18=True)), dict)


@given(
    st.one_of(st.binary(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: str(x).encode()))
)
def test_no_line_raises(line: bytes) -> None:
    assert isinstance(decide(line), (str, dict))


@given(
    st.dictionaries(
        st.sampled_from(["url", "score", "created_utc", "is_self", "over_18", "id", "subreddit", "domain"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
    )
)
def test_no_types_raise(row: dict[str, Any]) -> None:
    assert isinstance(decide({"url": "http://a.com", **row}), (str, dict))


def run(
    tmp_path: Path, *dumps: Path, settings: SubmissionsSettings | None = None
) -> tuple[SubmissionsStage, StageManifest]:
    stage = SubmissionsStage(
        str(tmp_path / "out"), settings or SubmissionsSettings(), {"dumps": refs(*dumps)}, {}, partitions=PARTITIONS
    )
    return stage, run_stage(stage, workers=1, say=lambda _: None)


def test_stage_partitions_and_counts(tmp_path: Path) -> None:
    rows = [post(f"http://site{i}.com/{i}", i) for i in range(50)]
    dump = write_dump(
        tmp_path / "RS_1.zst", [*rows, post("http://x.com", None), b"{oops", b"", post(None, is_self=True)]
    )
    stage, manifest = run(tmp_path, dump)
    assert manifest.totals.rows_in == 53
    assert manifest.totals.rows_out == 50
    assert manifest.totals.dropped == {"no-score": 1, "not-json": 1, "self-post": 1}
    found = 0
    for p in range(PARTITIONS):
        table = pq.read_table(f"{stage.folder}/{p:05d}-00000.parquet")
        assert table.schema.equals(SUBMISSION)
        assert all(partition_of(i, PARTITIONS) == p for i in table["id"].to_pylist())
        found += table.num_rows
    assert found == 50


def test_karma_rule_does_not_change_the_plan(tmp_path: Path) -> None:
    dump = refs(write_dump(tmp_path / "RS.zst", [post("http://a.com")]))
    plans = []
    for karma in ("any", "sum"):
        stage = SubmissionsStage(str(tmp_path), LinksSettings(karma=karma), {"dumps": dump}, {}, partitions=2)
        plans.append(stage.plan_entry(stage.plan()[0]))
    assert plans[0] == plans[1]


def test_no_line_is_a_submission(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "RS.zst", [b"this is", b"no dump"])
    with pytest.raises(UserError, match="none of its 2 lines is JSON") as error:
        run(tmp_path, dump)
    assert str(dump) in str(error.value)
    assert not list((tmp_path / "out").glob("*.parquet*"))


def test_cut_dump_stops_its_task_only(tmp_path: Path) -> None:
    good = write_dump(tmp_path / "RS_1.zst", [post("http://a.com")])
    bad = write_dump(tmp_path / "RS_2.zst", [post(f"http://b.com/{i}") for i in range(99)])
    bad.write_bytes(bad.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"RS_2.zst, byte .*cut short"):
        run(tmp_path, good, bad)
    names = {path.name for path in (tmp_path / "out").glob("*.parquet*")}
    assert names == {f"{p:05d}-00000.parquet" for p in range(PARTITIONS)}
