from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages_of_text import page

from data_prep.extract import Extracted, ExtractSettings, Failure, page_function
from data_prep.extract.settings import Method

METHODS = get_args(Method)
LONG = "The main text of the page. " * 12
EVERY = {name: page_function(ExtractSettings(extractor=name)) for name in METHODS}


def read(body: bytes, content_type: str = "text/html", charset: str = "", **options: Any) -> Extracted:
    found = page_function(ExtractSettings(**options))(body, content_type, charset)
    assert isinstance(found, Extracted), found
    return found


@pytest.mark.parametrize("extractor", METHODS)
def test_main_text_and_what_is_known(extractor: str) -> None:
    head = (
        '<meta name=author content="A. N. Other"><meta property="article:published_time" content="2016-05-04T10:00Z">'
    )
    found = read(page(LONG, head, title="Of  mice\n&amp; men").encode(), extractor=extractor)
    assert found.text.startswith("The main text of the page.")
    assert "Log in" not in found.text
    assert (found.title, found.date, found.author) == ("Of mice & men", "2016-05-04", "A. N. Other")
    assert (found.encoding, found.undecodable) == ("utf-8", 0)
    name, version = found.extractor.split(" ")[:2]
    assert name in METHODS
    assert version[0].isdigit()


def test_plain_text_as_it_is() -> None:
    text = "  <p> is a tag\r\n\r\n\tand é stays.\f\n"
    found = read(text.encode(), "text/plain")
    assert (found.text, found.extractor) == (text, "plain-text")


def test_control_characters_go() -> None:
    assert read(b"a\0b\x1b[1mc\x7f", "text/plain").text == "ab[1mc"
    for extractor in METHODS:
        found = read(page(LONG.replace("text", "te\x01x\x0bt")).encode(), extractor=extractor)
        assert not set(found.text) & set(map(chr, (*range(9), 11, *range(14, 32))))


def test_missing_content_type_is_guessed() -> None:
    assert read(page(LONG).encode(), "").title == "A title"
    assert read(b"just text", "").text == "just text"


@pytest.mark.parametrize("extractor", METHODS)
def test_references_that_name_no_character(extractor: str) -> None:
    body = page("A paragraph &#xD800;&#1;&#x0B;&#0; of text. " * 10 + "&#10;&#169;&#12345;").encode()
    text = read(body, extractor=extractor).text
    assert text.startswith("A paragraph")
    assert "©〹" in text
    assert text.encode()


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"{}", "application/json", "not-text"),
        (b"%PDF-1.4 ...", "text/html", "not-text"),
        (b"\x89PNG\r\n", "text/plain", "not-text"),
        (b"", "text/html", "empty"),
        (b" \n ", "text/plain", "empty"),
        (b"\0\0\0", "text/html", "empty"),
        (b"<!-- nothing -->", "text/html", "empty"),
        (b"<html><body></body></html>", "text/html", "empty"),
    ],
)
def test_failures(body: bytes, content_type: str, reason: str) -> None:
    for extract in EVERY.values():
        found = extract(body, content_type, "")
        assert isinstance(found, Failure), found
        assert found.reason == reason


def test_crash_of_the_extractor_costs_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As Rust code raises it."""

    for error in (RecursionError("too deep"), PanicException("index out of bounds")):

        def crash(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("trafilatura.bare_extraction", crash)
        found = page_function(ExtractSettings())(page("x").encode(), "text/html", "")
        assert found == Failure("extract-failed", f"{type(error).__name__}: {error}")


TAGS = (
    *("p", "div", "table", "tr", "td", "a", "br", "pre", "ul", "li", "script", "svg", "math", "template"),
    *("select", "form", "frameset", "h1", "article", "title", "body"),
)
PIECES = st.sampled_from(
    [f"<{tag}>" for tag in TAGS]
    + [f"</{tag}>" for tag in TAGS]
    + [
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "<!DOCTYPE",
        "<html",
        "&#xD800;",
        "&amp",
        "&#0;",
        "&nbsp;",
        "\0",
        "\x01",
    ]
    + ["<p class='comment'", "<div style=display:none>", "<a href=x>", "é", "漢", "\ufffe", "\r\n", "=", "'"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=500),
        st.text(alphabet="<>/!-&#;x\"'= apdivtrcom\0\x01é", max_size=300).map(str.encode),
        st.lists(PIECES | st.text(max_size=20), max_size=60).map(
            lambda parts: "".join(parts).encode("utf-8", "replace")
        ),
        st.lists(PIECES, max_size=30).map(lambda parts: page("".join(parts) + LONG).encode()),
    ),
    st.sampled_from(METHODS),
)
def test_no_page_raises(body: bytes, extractor: str) -> None:
    for kind in ("text/html", "text/plain"):
        found = EVERY[extractor](body, kind, "")
        assert isinstance(found, Failure) or (found.text.strip() and found.text.encode())
        assert found == EVERY[extractor](body, kind, "")
