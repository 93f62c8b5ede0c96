"""One page: bytes -> text and what is known beside it, or why it has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lxml import etree

from data_prep.extract.encoding import decode
from data_prep.extract.metadata import Metadata, read_metadata
from data_prep.extract.methods import Page, method
from data_prep.extract.settings import ExtractSettings

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
PLAIN_TYPES = frozenset({"text/plain"})
PLAIN = "plain-text"
"""In place of an extractor's name, for a text/plain page."""

_BINARY = (b"%PDF-", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b\x08", b"RIFF", b"OggS", b"ID3")
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
# References to control characters, which HTML 13.5 calls errors; one of them makes an extractor give up the page.
_CONTROL_REFERENCE = re.compile(
    r"&#(?:[xX]0*(?:[1-8bBcCeEfF]|1[0-9a-fA-F])|0*(?:[1-8]|1[124-9]|2[0-9]|3[01]))(?:;|(?![0-9a-fA-F]))"
)
# The control characters themselves, but for tab, line feed, form feed and carriage return; and noncharacters.
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


@dataclass(frozen=True)
class Extracted:
    """The text of a page.

    Attributes:
        text: not empty; not normalised beyond what the extractor does.
        title: content of <title>; "" if there is none.
        date: day of publication as the page states it, YYYY-MM-DD; "" if it does not.
        author: names as the page states them, joined by "; "; "" if it does not.
        encoding: Python's name of the encoding the bytes were decoded with.
        undecodable: characters that had to be replaced by U+FFFD.
        extractor: name and version of what made the text.
    """

    text: str
    title: str
    date: str
    author: str
    encoding: str
    undecodable: int
    extractor: str


@dataclass(frozen=True)
class Failure:
    """Why a page gives no text, with what is known beside it.

    `not-text`, `empty`, `extract-failed` (the extractor raised), `extract-timeout`, `extract-memory`,
    `extract-crashed`.
    """

    reason: str
    detail: str = ""


def page_function(settings: ExtractSettings) -> Callable[[bytes, str, str], Extracted | Failure]:
    """The function (body, media type, charset of the header) -> text of one page.

    It runs in the caller's process, without limits; `Extractor` runs it under guard.
    """
    extract = method(settings)

    def run(body: bytes, content_type: str, charset: str = "") -> Extracted | Failure:
        kind = content_type or ("text/html" if body[:1024].lstrip()[:1] == b"<" else "text/plain")
        if kind not in HTML_TYPES | PLAIN_TYPES:
            return Failure("not-text", kind)
        if body.startswith(_BINARY):
            return Failure("not-text", f"binary data as {kind}")
        if not body.strip():
            return Failure("empty")
        characters, encoding, undecodable = decode(body, charset)
        if kind in PLAIN_TYPES:
            text, maker, known = characters, PLAIN, Metadata("", "", "")
        else:
            try:
                page = parse(characters)
                if page is None:
                    return Failure("empty")
                known = read_metadata(page.root)
                text, maker = extract(page)
            except (MemoryError, KeyboardInterrupt, SystemExit):
                raise
            # Whatever an odd page makes the libraries raise costs that page only; a panic of Rust is no `Exception`.
            except BaseException as error:
                return Failure("extract-failed", f"{type(error).__name__}: {error}"[:200])
        text = _storable(text)
        if not text.strip():
            return Failure("empty")
        return Extracted(
            text, _storable(known.title), known.date, _storable(known.author), encoding, undecodable, maker
        )

    return run


def parse(characters: str) -> Page | None:
    """A page's tree; None if there is nothing in it."""
    html = _CONTROL_REFERENCE.sub("", _XML_DECLARATION.sub("", characters))
    parser = etree.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, collect_ids=False, huge_tree=True
    )
    try:
        root: Any = etree.fromstring(_CONTROL.sub("", html).encode("utf-8", "replace"), parser)
    except etree.ParserError:
        return None
    return None if root is None else Page(html, root)


def _storable(text: str) -> str:
    """Text without control characters and halves of surrogate pairs, which a reference such as &#xD800; makes."""
    return _CONTROL.sub("", text).encode("utf-8", "replace").decode()
