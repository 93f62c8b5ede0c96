from __future__ import annotations

from typing import Any

import pytest
from lxml import etree
from pages_of_text import CHINESE, KOREAN, MENU, RUSSIAN, sentence

from data_prep.extract.density import main_text


def body(html: str) -> Any:
    return etree.fromstring(f"<html><body>{html}</body></html>".encode(), etree.HTMLParser(encoding="utf-8")).find(
        "body"
    )


def text(html: str, **options: bool) -> str:
    return main_text(body(html), **options).text


PARAGRAPHS = "".join(f"<p>{sentence(i)}</p>" for i in range(5))
TEXT = "\n".join(sentence(i) for i in range(5))


def test_article_without_what_is_around_it() -> None:
    page = f"""{MENU}<header><h1>A title</h1><p>By Somebody</p></header>
        <div class="story"><div class="share-buttons"><p>{sentence(90)}</p></div>{PARAGRAPHS}</div>
        <aside><p>{sentence(91)}</p></aside><div id="sidebar"><p>{sentence(92)}</p></div>
        <footer><p>{sentence(93)}</p></footer><script>var x = 'a';</script>"""
    found = main_text(body(page))
    assert found.text == TEXT
    assert found.clearness > 0.9


@pytest.mark.parametrize("long", [CHINESE, KOREAN, RUSSIAN])
def test_no_language_is_assumed(long: str) -> None:
    found = text(f"{MENU}<div><p>{long}</p><p>{long}</p></div><div><a href=x>{long[:12]}</a></div>")
    assert found == "\n".join([long.strip()] * 2)


def test_what_stands_between_stays_and_links_go() -> None:
    page = f"""<div><p>{sentence(1)}</p><h2>Second part</h2><p>Yes.</p><ul><li>One thing</li><li>Another thing</li></ul>
        <div>Advertisement</div><p><a href=/x>Read also: another story of this site</a></p><p>{sentence(2)}</p>
        <h2>Nothing below</h2><p><a href=/y>More stories</a></p></div>"""
    assert text(page).split("\n") == [
        sentence(1),
        "Second part",
        "Yes.",
        "One thing",
        "Another thing",
        sentence(2),
    ]


def test_lists_of_links_go_but_a_link_in_a_list_of_text_stays() -> None:
    links = "<ul>" + "".join(f"<li><a href=/{i}>Another story of this site</a></li>" for i in range(3)) + "</ul>"
    items = (
        f"<ul><li>{sentence(7)}</li><li>{sentence(8)}</li><li><a href=x>A manual</a></li><li>{sentence(9)}</li></ul>"
    )
    expected = [sentence(1), sentence(7), sentence(8), "A manual", sentence(9)]
    assert text(f"<div><p>{sentence(1)}</p>{links}{items}</div>").split("\n") == expected


def test_links_in_code_are_code() -> None:
    code = "<pre><a href=x>open</a><div></div><a href=y>close</a></pre>"
    assert text(f"<div><p>{sentence(1)}</p>{code}<p>{sentence(2)}</p></div>").split("\n") == [
        sentence(1),
        "open",
        "close",
        sentence(2),
    ]


def test_tables_line_breaks_and_code() -> None:
    table = "<table><tr><th>Year</th><th>Mills</th></tr><tr><td>1801</td><td>17</td></tr></table>"
    verse = "<p>A first line of verse,<br>and a second.<br><br>   A third.</p>"
    page = f"<div><p>{sentence(1)}</p>{table}{verse}<pre>def f():\n    return 1\n</pre><p>{sentence(2)}</p></div>"
    expected = [sentence(1), "Year | Mills", "1801 | 17", "A first line of verse,", "and a second.", "A third."]
    expected += ["def f():", "    return 1", sentence(2)]
    assert text(page).split("\n") == expected
    assert "1801" not in text(page, tables=False)


def test_layout_tables_are_no_rows() -> None:
    page = f"<table><tr><td><a href=x>Menu</a></td><td>{PARAGRAPHS}</td></tr></table>"
    assert text(page) == TEXT
    assert text(page, tables=False) == TEXT


def test_comments_are_a_choice() -> None:
    page = (
        f'<div><article>{PARAGRAPHS}</article><div id="comments"><p>{sentence(8)}</p><p>{sentence(9)}</p></div></div>'
    )
    assert text(page) == TEXT
    assert text(page, comments=True) == "\n".join([TEXT, sentence(8), sentence(9)])


@pytest.mark.parametrize("name", ["has-sidebar", "post category-social tag-newsletter", "page-sidebar-layout"])
def test_a_name_that_misleads_does_not_lose_the_text(name: str) -> None:
    assert text(f'<div class="{name}">{PARAGRAPHS}</div>') == TEXT
    assert text(f'<div class="{name}">{PARAGRAPHS}</div><div>{sentence(8) * 3}</div>').startswith(TEXT)


def test_hidden_text_is_no_text() -> None:
    hidden = "".join(
        f"<div {how}><p>{sentence(i)}</p></div>"
        for i, how in enumerate(["hidden", "style='color:red; display: none'", "aria-hidden=true", "role=dialog"], 20)
    )
    assert text(f"<div>{PARAGRAPHS}{hidden}</div>") == TEXT


def test_clearness() -> None:
    one = main_text(body(f"<div>{PARAGRAPHS}</div><ul><li><a href=x>Next</a></li></ul>"))
    bits = "<div>a bit of text</div>" * 20
    strewn = main_text(body("".join(f"<div><p>{sentence(i)}</p>{bits}</div>" for i in range(5))))
    teasers = main_text(body("".join(f"<h3><a href=/{i}>A title</a></h3><p>{sentence(i)}</p>" for i in range(5))))
    assert one.clearness > 0.9
    assert strewn.clearness < 0.5
    assert teasers.clearness < 0.5


def test_nothing_in_it() -> None:
    assert main_text(body("")).text == ""
    assert main_text(body(MENU)).text == ""
    assert main_text(body("<p>Too short</p>")).text == ""


def test_depth_needs_no_stack() -> None:
    deep = etree.fromstring(
        b"<body>" + b"<div>" * 50_000 + sentence(1).encode() * 2, etree.HTMLParser(huge_tree=True)
    ).find("body")
    assert main_text(deep).text in ("", sentence(1) * 2)  # libxml2 may cut what is too deep
