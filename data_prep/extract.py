"""The text of one page: bytes decoded rightly, main text of HTML, plain text as it is.

GPT-2 2.1 combined Dragnet and Newspaper; Dragnet can no longer be installed. Here trafilatura does it (ours); which
extractor made a text, and how, is recorded with every document, because extractors differ more than filters do.
"""

from __future__ import annotations

import codecs
import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

import trafilatura
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from trafilatura.meta import reset_caches

from data_prep.configfile import Settings

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
PLAIN_TYPES = frozenset({"text/plain"})
RESET_EVERY = 1000
"""Pages after which trafilatura's caches, which otherwise grow, are emptied."""

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_META = re.compile(
    rb"""<meta\s[^>]*?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)|<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9_:.-]+)""",
    re.IGNORECASE,
)
_META_WITHIN = 4096
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
# References to control characters, which HTML 13.5 calls errors; one of them makes the extractor give up the page.
_CONTROL_REFERENCE = re.compile(
    r"&#(?:[xX]0*(?:[1-8bBcCeEfF]|1[0-9a-fA-F])|0*(?:[1-8]|1[124-9]|2[0-9]|3[01]))(?:;|(?![0-9a-fA-F]))"
)
# Python's own codec of the name is stricter than what pages and browsers mean by it.
_WIDER = {"euc_kr": "cp949", "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs"}

# trafilatura and lxml log about every odd page; the counts by reason say it once.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


class ExtractSettings(Settings):
    """How text is taken from HTML.

    Attributes:
        extractor: `trafilatura-fast` leaves out the fallback extractors of `trafilatura`.
        tables: whether the text of tables is kept.
        comments: whether readers' comments below an article are kept.
    """

    extractor: Literal["trafilatura-fast", "trafilatura"] = "trafilatura-fast"
    tables: bool = True
    comments: bool = False


@dataclass(frozen=True)
class Extracted:
    """The text of a page.

    Attributes:
        text: not empty; not normalised beyond what the extractor does.
        title: content of <title>; "" if there is none.
        encoding: Python's name of the encoding the bytes were decoded with.
        undecodable: characters that had to be replaced by U+FFFD.
    """

    text: str
    title: str
    encoding: str
    undecodable: int


@dataclass(frozen=True)
class Failure:
    """Why a page gives no text: `not-text`, `extract-failed` or `empty`, with what is known beside it."""

    reason: str
    detail: str = ""


def decode(body: bytes, charset: str = "") -> tuple[str, str, int]:
    """Decode a page: (text, encoding used, number of replaced characters).

    In order: a byte order mark; UTF-8 if the bytes are valid UTF-8 (other encodings do not look like it by chance, and
    servers often declare one encoding for all their pages); the charset of the HTTP header; that of <meta> or the XML
    declaration; what the bytes look like (uchardet). A declared encoding that cannot decode the bytes is passed
    over; if none can, the first that was declared decodes with replacement characters.

    Args:
        body: the page.
        charset: as declared in the HTTP header, "" if none.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return _replacing(body, name)
    meta = _META.search(body, 0, _META_WITHIN)
    declared = [charset, (meta[1] or meta[2]).decode("ascii") if meta else ""]
    # ISO-2022 and UTF-16 of Latin text are valid ASCII too.
    ambiguous = body.isascii() and (b"\x1b" in body or b"\0" in body)
    candidates = [] if ambiguous else ["utf-8"]
    candidates += [known for label in declared if (known := _codec(label))]
    for name in candidates:
        try:
            return body.decode(name), name, 0
        except UnicodeDecodeError:
            continue
    guess = _codec(detect_encoding(body) or "") or "utf-8"
    try:
        return body.decode(guess), guess, 0
    except UnicodeDecodeError:
        return _replacing(body, next((name for name in candidates if name != "utf-8"), "utf-8"))


def _replacing(body: bytes, name: str) -> tuple[str, str, int]:
    text = body.decode(name, "replace")
    return text, name, text.count("\ufffd")


def _codec(label: str) -> str | None:
    """Python's codec for an encoding label as browsers understand it; None if there is none."""
    mapped = map_encoding_to_html5(label.strip(), fallback_utf8=False) if label else None
    if not mapped:
        return None
    try:
        name = codecs.lookup(mapped).name
    except LookupError:
        return None
    return _WIDER.get(name, name)


class Extractor:
    """Pages -> text, one at a time.

    Args:
        settings: how.
    """

    def __init__(self, settings: ExtractSettings) -> None:
        self._settings = settings
        self._pages = 0

    def __call__(self, body: bytes, content_type: str, charset: str = "") -> Extracted | Failure:
        """The text of one page.

        Args:
            body: the page's bytes.
            content_type: media type in lower case; "" if unknown.
            charset: declared in the HTTP header; "" if none.
        """
        self._pages += 1
        if self._pages % RESET_EVERY == 0:
            reset_caches()
        kind = content_type or ("text/html" if body[:1024].lstrip()[:1] == b"<" else "text/plain")
        if kind not in HTML_TYPES | PLAIN_TYPES:
            return Failure("not-text", kind)
        if body.startswith(_BINARY):
            return Failure("not-text", f"binary data as {kind}")
        if not body.strip():
            return Failure("empty")
        page, encoding, undecodable = decode(body, charset)
        if kind in PLAIN_TYPES:
            return Extracted(page, "", encoding, undecodable)
        try:
            title, text = self._main_text(page)
        except MemoryError:
            raise  # says something about the machine, not about the page
        except Exception as error:  # whatever an odd page makes the libraries raise costs that page only
            return Failure("extract-failed", f"{type(error).__name__}: {error}"[:200])
        if not text.strip():
            return Failure("empty")
        # A character reference such as &#xD800; names no character and cannot be stored.
        return Extracted(text.encode("utf-8", "replace").decode(), title, encoding, undecodable)

    def _main_text(self, page: str) -> tuple[str, str]:
        tree = trafilatura.load_html(_CONTROL_REFERENCE.sub("", _XML_DECLARATION.sub("", page)))
        if tree is None:
            return "", ""
        title = " ".join((tree.findtext(".//title") or "").split())
        document: Any = trafilatura.bare_extraction(
            tree,
            fast=self._settings.extractor == "trafilatura-fast",
            include_comments=self._settings.comments,
            include_tables=self._settings.tables,
            with_metadata=False,
        )
        if document is None:
            return title, ""
        parts = [document.text or "", document.comments or "" if self._settings.comments else ""]
        return title, "\n".join(part for part in parts if part)


_BINARY = (b"%PDF-", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b\x08", b"RIFF", b"OggS", b"ID3")
