"""One record of an archive, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from data_prep.warc.http import Kind


@dataclass(frozen=True)
class Record:
    """A record whose block is still to be read; valid until the next one is asked for.

    Attributes:
        kind: what it is; `other` holds no page.
        url: target URI as recorded; "" if none.
        date: up to 14 digits YYYYMMDDhhmmss; "" if not given.
        length: bytes of the block.
        offset: where the record starts, as `Response.offset`.
        read: the next so many bytes of the block, fewer only at its end; raises `CorruptFile` where the file is cut.
        content_type: of the block.
        language: as `Response.language`.
        refers_to: as `Response.refers_to`.
    """

    kind: Kind | Literal["other"]
    url: str
    date: str
    length: int
    offset: int
    read: Callable[[int], bytes]
    content_type: str = ""
    language: str = ""
    refers_to: str = ""
