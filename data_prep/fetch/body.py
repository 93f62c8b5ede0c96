"""Bodies read under caps: on the bytes as sent, on the bytes they decompress to, and on the ratio of the two."""

from __future__ import annotations

import zlib
from typing import Any

from data_prep.fetch.failure import Failure

_RATIO_MATTERS_ABOVE = 1 << 20
_STEP = 1 << 16
_MAGIC = b"\x1f\x8b"


class GzipMeter:
    """Counts what a gzip body decompresses to, 64 KiB at a time, keeping nothing.

    A body that says gzip and is not (its first bytes are not gzip's) counts as it is, as browsers read it.

    Args:
        max_bytes: most bytes, decompressed.
        max_ratio: most bytes from one byte, of more than 1 MiB decompressed.
    """

    def __init__(self, max_bytes: int, max_ratio: float) -> None:
        self._max_bytes, self._max_ratio = max_bytes, max_ratio
        self._member: Any = None
        self._read = self._decoded = 0
        self._head = b""
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Count another piece of the body.

        Raises:
            Failure: too-large, compression-bomb, or bad-encoding for damaged data.
        """
        self._read += len(data)
        if self._ended:
            return
        try:
            while data:
                if self._member is None:
                    self._head += data
                    if len(self._head) < len(_MAGIC):
                        return
                    data, self._head = self._head, b""
                    if not data.startswith(_MAGIC):
                        self._ended = True  # no gzip, or what gunzip ignores behind it
                        return
                    self._member = zlib.decompressobj(wbits=31)
                self._count(len(self._member.decompress(data, _STEP)))
                if self._member.eof:
                    data, self._member = self._member.unused_data, None
                else:
                    data = self._member.unconsumed_tail
        except zlib.error as error:
            raise Failure("bad-encoding", f"gzip data is damaged ({error})") from None

    def _count(self, produced: int) -> None:
        self._decoded += produced
        if self._decoded > _RATIO_MATTERS_ABOVE and self._decoded > self._max_ratio * self._read:
            raise Failure("compression-bomb", f"{self._decoded:,} bytes from {self._read:,}")
        if self._decoded > self._max_bytes:
            raise Failure("too-large", f"more than {self._max_bytes:,} bytes, decompressed")


def gunzip_prefix(body: bytes, limit: int) -> bytes:
    """At most the first `limit` decompressed bytes; what is not gzip, or damaged, is given as far as it can be read."""
    if not body.startswith(_MAGIC):
        return body[:limit]
    try:
        return zlib.decompressobj(wbits=31).decompress(body, limit)
    except zlib.error:
        return b""
