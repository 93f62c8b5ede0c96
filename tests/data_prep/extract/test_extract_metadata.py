from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from data_prep.extract.metadata import Metadata, read_metadata


def read(head: str, body: str = "") -> Metadata:
    html = f"<html><head>{head}</head><body>{body}</body></html>"
    return read_metadata(etree.fromstring(html.encode(), etree.HTMLParser(encoding="utf-8")))


def linked(data: Any) -> str:
    return f'<script type="application/ld+json">{json.dumps(data)}</script>'


def test_title() -> None:
    assert read("<title>Of  mice\n&amp; men</title>") == Metadata("Of mice & men", "", "")
    assert read("") == Metadata("", "", "")


@pytest.mark.parametrize(
    ("head", "body", "date"),
    [
        ('<meta property="article:published_time" content="2017-03-09T08:00:00+09:00">', "", "2017-03-09"),
        ('<meta name="DC.date.issued" content="2012-11-02">', "", "2012-11-02"),
        ('<meta itemprop="datePublished" content="20150607">', "", "2015-06-07"),
        ('<meta name="pubdate" content="Tue, 05 Jan 2016 10:00:00 GMT">', "", "2016-01-05"),
        ('<meta name="citation_date" content="2014/05/06">', "", "2014-05-06"),
        ('<meta name="date" content="yesterday">', "<time datetime='2011-01-02T03:04'>2. Januar</time>", "2011-01-02"),
        ('<meta name="date" content="2016-02-30">', "", ""),
        ('<meta name="date" content="0017-02-03">', "", ""),
        ('<meta name="date" content="99999999999999999999">', "", ""),
        (
            linked({"@graph": [{"@type": "WebPage"}, {"@type": "Article", "datePublished": "2013-04-05"}]}),
            "",
            "2013-04-05",
        ),
        (linked([{"datePublished": 2013}]), "", ""),
    ],
)
def test_date(head: str, body: str, date: str) -> None:
    assert read(head, body).date == date


@pytest.mark.parametrize(
    ("head", "author"),
    [
        ('<meta name="author" content=" 김 철수 ">', "김 철수"),
        (
            '<meta name="citation_author" content="A. One"><meta name="citation_author" content="B. Two">',
            "A. One; B. Two",
        ),
        ('<meta property="article:author" content="https://social.example/somebody">', ""),
        (linked({"author": {"@type": "Person", "name": "Somebody"}}), "Somebody"),
        (linked({"author": [{"name": "One"}, "Two", {"name": None}, 3]}), "One; Two"),
        ("<script type='application/ld+json'>{not json</script>", ""),
    ],
)
def test_author(head: str, author: str) -> None:
    assert read(head).author == author


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["author", "name", "datePublished", "@graph"]), inner)
    ),
)


@given(JSON)
def test_any_linked_data(data: Any) -> None:
    found = read(linked(data).replace("</script>", "<\\/script>", 0))
    assert len(found.date) in (0, 10)


@pytest.mark.parametrize(
    "body",
    [
        "<p>By <a rel=author href=/a>Somebody</a></p>",
        "<span itemprop=author itemscope><b itemprop=name> Somebody </b></span>",
        "<a class='p-author h-card'>Somebody</a>",
    ],
)
def test_author_named_beside_the_text(body: str) -> None:
    assert read("", body).author == "Somebody"
    assert read("<meta name=author content=Another>", body).author == "Another"
    assert read("", "<span class=fn>A commenter</span>").author == ""
