from __future__ import annotations

import json
import os
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from front_chain import post
from hypothesis import given
from hypothesis import strategies as st

from data_prep import reddit
from data_prep.dumps import DumpReader
from data_prep.reddit import SUBMISSION, RowRules, RowSettings, unescape


def decide(row: object, **settings: Any) -> Any:
    """A row as a dictionary, or a reason."""
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    found = RowRules(RowSettings(**settings))(line)
    return found if isinstance(found, str) else dict(zip(SUBMISSION.names, found, strict=True))


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
        (post("http://a.com", 10**30), "bad-field"),
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


DAY = 86_400
NEW_YEAR = 1_514_764_800  # 2018-01-01 00:00 UTC


def test_date_window() -> None:
    window = {"after": date(2017, 12, 31), "before": date(2018, 1, 1)}
    found = [decide(post("http://a.com", created_utc=NEW_YEAR + s), **window) for s in (-DAY - 1, -DAY, -1, 0)]
    assert [row if isinstance(row, str) else "kept" for row in found] == ["too-early", "kept", "kept", "too-late"]


@pytest.mark.parametrize(
    ("rule", "reason", "fields"),
    [
        ("over_18", "over-18", {"over_18": True}),
        ("crossposts", "crosspost", {"crosspost_parent": "t3_9"}),
        ("removed", "removed-post", {"removed_by_category": "moderator"}),
        ("removed", "removed-post", {"author": "[deleted]"}),
        ("removed", "removed-post", {"selftext": "[removed]"}),
        ("promoted", "promoted", {"promoted": True}),
        ("promoted", "promoted", {"is_created_from_ads_ui": True}),
        ("promoted", "promoted", {"subreddit": None}),
    ],
)
def test_posts_that_are_kept_unless_a_rule_drops_them(rule: str, reason: str, fields: dict[str, Any]) -> None:
    row = post("http://a.com/x", **fields)
    assert isinstance(decide(row), dict)
    assert isinstance(decide(row, **{rule: "keep"}), dict)
    assert decide(row, **{rule: "drop"}) == reason
    assert decide(row, **{rule: False}) == reason
    plain = post("http://a.com/x", author="someone", selftext="", removed_by_category=None, promoted=False)
    assert isinstance(decide(plain, **{rule: "drop"}), dict)


def test_a_rule_is_keep_or_drop() -> None:
    with pytest.raises(ValueError, match="media_hosts"):
        RowSettings.model_validate({"media_hosts": "maybe"})


@pytest.mark.parametrize(
    ("url", "media"),
    [
        ("http://i.imgur.com/a.jpg", True),
        ("https://www.youtube.com/watch?v=1", True),
        ("http://imgur.com.evil.org/", False),
        ("http://notimgur.com/", False),
    ],
)
def test_media_hosts(url: str, media: bool) -> None:
    assert isinstance(decide(post(url)), dict)
    assert (decide(post(url), media_hosts="drop") == "media-host") == media


def test_domains_and_all_below_them() -> None:
    rules = {"exclude_domains": ("bad.com", "news.ok.co.uk")}
    urls = ["http://bad.com/", "http://a.b.bad.com/x", "http://badd.com/", "http://ok.co.uk/", "http://x.news.ok.co.uk"]
    assert [decide(post(url), **rules) == "excluded-domain" for url in urls] == [True, True, False, False, True]


def test_subreddits_in_any_case() -> None:
    row = post("http://a.com", subreddit="AskReddit")
    assert decide(row, exclude_subreddits=("askreddit",)) == "excluded-subreddit"
    assert decide(row, include_subreddits=("science",)) == "other-subreddit"
    assert isinstance(decide(row, include_subreddits=("askreddit",)), dict)
    missing = post("http://a.com", subreddit=None)
    assert isinstance(decide(missing, exclude_subreddits=("askreddit",)), dict)
    assert decide(missing, include_subreddits=("askreddit",)) == "other-subreddit"


def test_least_score() -> None:
    assert decide(post("http://a.com", 2), least_score=3) == "low-karma"
    assert isinstance(decide(post("http://a.com", 3), least_score=3), dict)
    assert isinstance(decide(post("http://a.com", -9)), dict)


def test_hosts_remembered_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reddit, "_REMEMBERED_HOSTS", 2)
    rules = RowRules(RowSettings(exclude_domains=("a.com",)))
    for _ in range(2):
        found = [rules(json.dumps(post(f"http://{host}.com/")).encode()) for host in "abcda"]
        assert [row if isinstance(row, str) else row[1] for row in found] == [
            "excluded-domain",
            "https://b.com/",
            "https://c.com/",
            "https://d.com/",
            "excluded-domain",
        ]


COMMON = {"id": "x1", "title": "t", "url": "http://www.a.com/?b=1&amp;c=2", "domain": "a.com", "score": 7}
ERAS: list[tuple[str, dict[str, Any], tuple[int, int, str | None]]] = [
    (
        "2005-06",
        {"created_utc": 1119552233, "is_self": False, "over_18": False, "subreddit": "reddit.com", "selftext": ""},
        (7, 1119552233, "reddit.com"),
    ),
    (
        "2011-12, no author",
        {"created_utc": 1323000000, "is_self": False, "over_18": False, "subreddit": "pics", "edited": False},
        (7, 1323000000, "pics"),
    ),
    (
        "2014-05, date as string",
        {"created_utc": "1400000000", "is_self": False, "over_18": False, "subreddit": "pics", "edited": 1400000100.0},
        (7, 1400000000, "pics"),
    ),
    (
        "2016-05, promoted post without a subreddit",
        {"created_utc": 1462060800, "is_self": False, "over_18": False, "promoted": True, "href_url": "http://a.com"},
        (7, 1462060800, None),
    ),
    (
        "2018-05, crosspost",
        {
            "created_utc": 1525132800,
            "is_self": False,
            "subreddit": "x",
            "crosspost_parent": "t3_9",
            "crosspost_parent_list": [{"is_self": True, "score": 1, "url": "http://parent.com", "created_utc": 1}],
        },
        (7, 1525132800, "x"),
    ),
    (
        "2019-2026, where the post leads",
        {
            "url": "https://www.reddit.com/gallery/x",
            "url_overridden_by_dest": "https://a.com/?b=1&amp;c=2",
            "created_utc": 1706745600.0,
            "is_self": False,
            "subreddit": "x",
            "removed_by_category": None,
            "is_created_from_ads_ui": False,
        },
        (7, 1706745600, "x"),
    ),
]


@pytest.mark.parametrize(("fields", "expected"), [era[1:] for era in ERAS], ids=[era[0] for era in ERAS])
def test_rows_of_every_era(fields: dict[str, Any], expected: tuple[int, int, str | None]) -> None:
    row = decide({**COMMON, **fields})
    assert (row["url"], row["submission"]) == ("https://a.com/?b=1&c=2", "x1")
    assert (row["score"], row["created_utc"], row["subreddit"]) == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"score": None}, "no-score"), ({"url": None, "domain": None}, "no-url")],
    ids=["2017-10 and 2017-11", "2022-08 and 2022-09"],
)
def test_nulls_of_some_months(fields: dict[str, Any], reason: str) -> None:
    assert decide({**COMMON, "created_utc": 1509500000, "is_self": False, "subreddit": "x", **fields}) == reason


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
def test_a_genuine_month() -> None:
    path = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "pushshift_genuine" / "RS_v2_2005-06.xz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    rules = RowRules(RowSettings(least_score=3))
    with DumpReader(str(path)) as dump:
        found = Counter(row if isinstance(row := rules(line), str) else "link" for line in dump)
    assert found == {"link": 83, "low-karma": 20}


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
