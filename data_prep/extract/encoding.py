"""Bytes of a page -> characters."""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_META = re.compile(
    rb"""<meta\s[^>]*?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)|<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9_:.-]+)""",
    re.IGNORECASE,
)
_META_WITHIN = 4096
# Python's own codec of the name is stricter than what pages and browsers mean by it.
_WIDER = {"euc_kr": "cp949", "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs"}


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
