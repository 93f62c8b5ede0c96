"""One line of an index: where the record of a URL at a time lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

TEXT_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain", "unk", ""})
"""Media types worth fetching; `unk` and "": the index does not know."""


@dataclass(frozen=True)
class Capture:
    """A record of a collection.

    Attributes:
        key: see `surt_key`.
        url: as captured.
        seconds: when, in seconds since 1970.
        status: HTTP status; 0 if not known.
        mime: media type, detected rather than declared where the index knows both.
        filename: of the archive, relative to the collection.
        offset: of the record in the archive, in bytes.
        length: of the record in the archive, in bytes, as it is compressed.
        redirect: where it redirects; "" if nowhere.
    """

    key: str
    url: str
    seconds: int
    status: int
    mime: str
    filename: str
    offset: int
    length: int
    redirect: str


def key_of(line: bytes) -> bytes:
    """The key at the start of a line of CDXJ or `cluster.idx`."""
    return line.partition(b" ")[0]


def parse_line(line: bytes) -> Capture:
    """A line of CDXJ: key, timestamp of 14 digits, JSON object.

    Raises:
        ValueError: it is not.
    """
    key, time, fields = line.decode("ascii").split(" ", 2)
    data = orjson.loads(fields)
    if not isinstance(data, dict):
        raise ValueError("no JSON object")
    return capture(
        key=key,
        url=data.get("url"),
        seconds=_seconds(time),
        status=data.get("status"),
        mime=data.get("mime-detected") or data.get("mime"),
        filename=data.get("filename"),
        offset=data.get("offset"),
        length=data.get("length"),
        redirect=data.get("redirect"),
    )


def capture(
    *, key: str, url: Any, seconds: int, status: Any, mime: Any, filename: Any, offset: Any, length: Any, redirect: Any
) -> Capture:
    """A capture out of fields as an index gives them.

    Raises:
        ValueError: one that is needed is missing or wrong.
    """
    try:
        at, size = int(offset), int(length)
    except TypeError:
        raise ValueError("no offset or length") from None
    if not (isinstance(url, str) and isinstance(filename, str) and filename and at >= 0 and size > 0):
        raise ValueError("no url, file name or valid range")
    return Capture(
        key=key,
        url=url,
        seconds=seconds,
        status=int(status) if str(status).isdecimal() else 0,
        mime=str(mime or "").lower(),
        filename=filename,
        offset=at,
        length=size,
        redirect=str(redirect or ""),
    )


def _seconds(digits: str) -> int:
    if len(digits) != 14 or not digits.isdecimal():
        raise ValueError("no timestamp of 14 digits")
    return int(datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp())
