"""Answers as WARC records (WARC 1.1, ISO 28500:2017), gzip-compressed one by one."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO, Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_prep.fetch.client import Reply

_KEPT_AS = {b"transfer-encoding": b"X-Crawl-Transfer-Encoding", b"content-length": b"X-Crawl-Content-Length"}
"""The body is stored as it was before chunking, so these no longer describe it; renamed as Common Crawl does."""


class _Head(StatusAndHeaders):  # type: ignore[misc]
    """A status line and headers, byte for byte; warcio's own would percent-encode what is not ASCII."""

    def __init__(self, raw: bytes) -> None:
        super().__init__("raw", [])  # anything: an empty one counts as none
        self._raw = raw

    def compute_headers_buffer(self, header_filter: object = None) -> None:
        self.headers_buff = self._raw


class RecordWriter:
    """Appends records to an open file."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._writer = WARCWriter(handle, gzip=True, warc_version="1.1")

    def about(self, info: dict[str, str]) -> None:
        """A `warcinfo` record."""
        self._writer.write_record(self._writer.create_warcinfo_record(None, info))

    def response(self, url: str, reply: Reply) -> str:
        """A `response` record; returns its date."""
        fields = _fields(reply)
        fields["WARC-Payload-Digest"] = reply.digest
        if reply.truncated:
            fields["WARC-Truncated"] = "length"
        self._write(
            self._writer.create_warc_record(
                url,
                "response",
                payload=io.BytesIO(reply.body),
                length=len(reply.body),
                http_headers=_Head(_head(reply)),
                warc_headers_dict=fields,
            )
        )
        return fields["WARC-Date"]

    def revisit(self, url: str, reply: Reply, same_as: str, date: str) -> None:
        """A `revisit` record (profile identical-payload-digest): headers only, the body is that of `same_as`."""
        self._write(
            self._writer.create_revisit_record(
                url, reply.digest, same_as, date, http_headers=_Head(_head(reply)), warc_headers_dict=_fields(reply)
            )
        )

    def _write(self, record: Any) -> None:
        self._writer.write_record(record)


def warc_date(date: datetime) -> str:
    """A time as WARC 1.1 writes it, with microseconds."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _fields(reply: Reply) -> dict[str, str]:
    fields = {"WARC-Date": warc_date(reply.date)}
    if reply.address:
        fields["WARC-IP-Address"] = reply.address
    return fields


def _head(reply: Reply) -> bytes:
    """The head of the answer with the framing of the stored body."""
    reason = reply.reason.encode("utf-8", "replace").replace(b"\r", b" ").replace(b"\n", b" ")
    lines = [b"%s %d %s" % (reply.version.encode("ascii", "replace"), reply.status, reason)]
    lines += [b"%s: %s" % (_KEPT_AS.get(name.lower(), name), value) for name, value in _printable(reply.headers)]
    lines.append(b"Content-Length: %d" % len(reply.body))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _printable(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """Headers without line breaks inside, which would make other headers of them."""
    for name, value in headers:
        yield name.translate(None, b"\r\n"), value.replace(b"\r", b" ").replace(b"\n", b" ")
