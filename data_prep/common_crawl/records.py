"""Records as bytes: fetched ones are checked before they are kept; an archive begins with one that says what it is."""

from __future__ import annotations

import gzip
import io
import uuid

from data_prep.common_crawl.capture import Capture
from data_prep.errors import UserError
from data_prep.urls import canonical_url
from data_prep.warc import records_of


class DamagedRecord(Exception):
    """What stands where the index points is not the capture it names."""


def checked_record(data: bytes, capture: Capture) -> bytes:
    """The bytes of a record as they are to be kept: one gzip member.

    Args:
        data: what was read of the archive.
        capture: what it should be.

    Raises:
        DamagedRecord: it is cut short, no record, more than one, or that of another URL.
    """
    if len(data) < capture.length:
        raise DamagedRecord(f"the archive ends after {len(data):,} of its {capture.length:,} bytes")
    try:
        records = [(record.kind, record.url) for record in records_of(io.BytesIO(data), "record")]
    except UserError as error:
        raise DamagedRecord(error.what) from None
    if len(records) != 1:
        raise DamagedRecord(f"{len(records)} records instead of one")
    kind, url = records[0]
    if kind not in ("response", "revisit") or canonical_url(url) != canonical_url(capture.url):
        raise DamagedRecord(f"a {kind} record of {url[:200]}")
    return data if data.startswith(b"\x1f\x8b") else gzip.compress(data, mtime=0)


def first_record(name: str) -> bytes:
    """A warcinfo record, so that an archive without pages is an archive too; the same bytes for the same name."""
    block = b"software: data-prep common-crawl\r\nformat: WARC File Format 1.0\r\n"
    head = (
        "WARC/1.0\r\nWARC-Type: warcinfo\r\n"
        "WARC-Date: 1970-01-01T00:00:00Z\r\n"  # the bytes must not depend on when they were written
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>\r\nWARC-Filename: {name}\r\n"
        f"Content-Type: application/warc-fields\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)
