"""One HTTP request with a limit on everything."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ClientResponse
from yarl import URL

from data_prep.fetch.body import GzipMeter
from data_prep.fetch.failure import Failure, failure_of
from data_prep.fetch.guard import Guard
from data_prep.fetch.settings import FetchSettings

_READ = 1 << 16
_REDIRECT_BODY = 1 << 16
_CONTENT_CODINGS = {"", "identity", "gzip", "x-gzip"}
ROBOTS_BYTES = 500 << 10
"""How much of a robots.txt is read (RFC 9309 2.5: at least 500 KiB)."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Want(Enum):
    """What a request is for."""

    PAGE = "page"
    ROBOTS = "robots"


@dataclass(frozen=True)
class Reply:
    """A response as it came.

    Attributes:
        status: HTTP status.
        reason: reason phrase.
        version: "HTTP/1.1" or "HTTP/1.0".
        headers: names and values as sent, in order.
        body: transfer coding undone, content coding not; b"" where the status makes it useless.
        truncated: whether the body is only the first part.
        address: IP address of the server.
        date: when the answer began.
    """

    status: int
    reason: str
    version: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    truncated: bool = False
    address: str = ""
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    def header(self, name: str) -> str | None:
        """The first value of a header, UTF-8 or else Latin-1."""
        for key, value in self.headers:
            if key.lower() == name.encode():
                try:
                    return value.decode().strip()
                except UnicodeDecodeError:
                    return value.decode("latin-1").strip()
        return None

    @property
    def digest(self) -> str:
        """Digest of the body in the form that WARC files use."""
        return "sha1:" + base64.b32encode(hashlib.sha1(self.body, usedforsecurity=False).digest()).decode()


class _Response(ClientResponse):
    """Remembers the address, which aiohttp forgets as soon as a short body has been read."""

    address = ""

    async def start(self, connection: Any) -> ClientResponse:
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        self.address = str(peer[0]) if peer else ""
        return await super().start(connection)


class Client:
    """Sends requests; must be made and used inside one event loop. Use as a context manager.

    Cookies are not kept, proxies of the environment are not used, redirects are not followed.

    Args:
        settings: the limits.
        guard: what leads from a URL to a socket.
    """

    def __init__(self, settings: FetchSettings, guard: Guard) -> None:
        self._settings = settings
        self.requests = 0
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=guard, socket_factory=guard.open_socket, ssl=ssl.create_default_context(), limit=0
            ),
            response_class=_Response,
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": settings.user_agent,
                "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.1",
                "Accept-Encoding": "gzip",
            },
            timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout),
        )
        # aiohttp sends a GET again by itself when the connection is lost; only `Fetcher` repeats, in a turn of its own.
        self._session._retry_connection = False

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, url: URL, want: Want) -> Reply:
        """Send one request to a URL that `Guard.check` gave.

        Raises:
            Failure: no acceptable answer within the limits.
        """
        self.requests += 1
        try:
            async with (
                asyncio.timeout(self._settings.total_timeout),
                self._session.get(url, allow_redirects=False) as response,
            ):
                try:
                    return await self._reply(response, want)
                except BaseException:
                    response.close()  # or aiohttp would read on
                    raise
        except Exception as error:
            raise failure_of(error) from None

    async def _reply(self, response: ClientResponse, want: Want) -> Reply:
        date = datetime.now(UTC)
        body, truncated = b"", False
        if response.status == 200 and want is Want.PAGE:
            body = await self._page(response)
        elif response.status == 200:
            body, truncated = await _first(response, ROBOTS_BYTES)
        elif response.status in REDIRECTS:
            body, truncated = await _first(response, _REDIRECT_BODY)
        else:
            response.close()
        version = response.version
        return Reply(
            status=response.status,
            reason=response.reason or "",
            version=f"HTTP/{version.major}.{version.minor}" if version else "HTTP/1.1",
            headers=response.raw_headers,
            body=body,
            truncated=truncated,
            address=getattr(response, "address", ""),
            date=date,
        )

    async def _page(self, response: ClientResponse) -> bytes:
        rules = self._settings
        media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media not in rules.content_types:
            raise Failure("content-type", media[:100] or "none")
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        if coding not in _CONTENT_CODINGS:
            raise Failure("bad-encoding", f"{coding[:100]} was not asked for")
        if (response.content_length or 0) > rules.max_bytes:
            raise Failure("too-large", f"Content-Length {response.content_length:,}")
        meter = GzipMeter(rules.max_decoded_bytes, rules.max_ratio) if "gzip" in coding else None
        body = bytearray()
        async for part in response.content.iter_chunked(_READ):
            body += part
            if len(body) > rules.max_bytes:
                raise Failure("too-large", f"more than {rules.max_bytes:,} bytes")
            if meter is not None:
                meter.feed(part)
        if meter is None and len(body) > rules.max_decoded_bytes:
            raise Failure("too-large", f"more than {rules.max_decoded_bytes:,} bytes")
        return bytes(body)


async def _first(response: ClientResponse, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of a body, and whether there was more."""
    body = bytearray()
    async for part in response.content.iter_chunked(_READ):
        body += part
        if len(body) > limit:
            response.close()
            return bytes(body[:limit]), True
    return bytes(body), False
