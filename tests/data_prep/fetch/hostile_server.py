"""A web server on 127.0.0.1 that misbehaves as it is told, by host and path; and crawls of it."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

from data_prep.fetch.crawl import Crawl
from data_prep.fetch.guard import Guard
from data_prep.fetch.journal import Journal
from data_prep.fetch.link import Finished, Link
from data_prep.fetch.settings import FetchSettings
from data_prep.urls import canonical_url, url_id

AGENT = "TestCrawl/1.0 (+https://example.org/crawl)"


@dataclass
class Request:
    """A request as received."""

    host: str
    path: str
    headers: dict[str, str]
    port: int


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def respond(
    status: str = "200 OK",
    body: bytes = b"",
    kind: str | None = "text/html",
    length: int | None = None,
    close: bool = False,
    **headers: str,
) -> Answer:
    """An answer of fixed bytes. `length`: what Content-Length says, if not the truth."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"Content-Type: {kind}"] if kind is not None else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        if close:
            writer.close()

    return answer


def redirect(to: str, status: int = 302) -> Answer:
    return respond(f"{status} Found", b"moved", Location=to)


def page(text: str) -> Answer:
    return respond(body=f"<html><body><p>{text}</p></body></html>".encode())


def robots(text: str) -> Answer:
    return respond(body=text.encode(), kind="text/plain")


def raw(*parts: bytes, forever: bytes = b"", pause: float = 0.0, close: bool = True) -> Answer:
    """Bytes as they are, then perhaps more of them for ever."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        while forever:
            writer.write(forever)
            await writer.drain()
            await asyncio.sleep(pause)
        if close:
            writer.close()

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The first request gets the first answer, and so on; the last is repeated."""
    left = list(answers)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return answer


async def silence(request: Request, writer: asyncio.StreamWriter) -> None:
    """Say nothing and keep the connection."""
    await asyncio.sleep(3600)


def gzip_bomb(megabytes: int = 64) -> bytes:
    return gzip.compress(bytes(megabytes << 20), 9)


@dataclass
class Certificates:
    """Server contexts by what is wrong with them, and the file that clients are to trust."""

    folder: Path
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    def __post_init__(self) -> None:
        good, other = trustme.CA(), trustme.CA()
        good.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        past = datetime.now(UTC) - timedelta(days=1)
        kinds = {
            "good": good.issue_cert("good.test"),
            "unknown-authority": other.issue_cert("unknown-authority.test"),
            "wrong-host": good.issue_cert("another.test"),
            "expired": good.issue_cert("expired.test", not_before=past - timedelta(days=30), not_after=past),
        }
        for kind, certificate in kinds.items():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.contexts[kind] = context

    @property
    def trusted(self) -> str:
        return str(self.folder / "ca.pem")


class HostileServer:
    """The server, on a thread of its own. Use as a context manager.

    Attributes:
        sites: (host, path) -> answer; a robots.txt that is not there is a 404, any other path too.
        count: (host, path) -> requests received.
        times: host -> when each request was received, seconds.
        headers: of the last request, by (host, path).
        together: host -> most requests that were being answered at a time.
        connections: how many were made.
    """

    def __init__(self, certificates: Certificates | None = None) -> None:
        self.sites: dict[tuple[str, str], Answer] = {}
        self.count: Counter[tuple[str, str]] = Counter()
        self.times: dict[str, list[float]] = defaultdict(list)
        self.headers: dict[tuple[str, str], dict[str, str]] = {}
        self.together: Counter[str] = Counter()
        self.connections = 0
        self._now: Counter[str] = Counter()
        self._certificates = certificates
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []
        self.port = 0
        self.tls_ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        plain = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._servers.append(plain)
        self.port = plain.sockets[0].getsockname()[1]
        for kind, context in (self._certificates.contexts if self._certificates else {}).items():
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
            self._servers.append(server)
            self.tls_ports[kind] = server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
                request = Request(headers.get("host", ""), first.split(" ")[1], headers, 0)
                await self._answer(request, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        key = (request.host, request.path)
        self.count[key] += 1
        self.headers[key] = request.headers
        self.times[request.host].append(time.monotonic())
        self._now[request.host] += 1
        self.together[request.host] = max(self.together[request.host], self._now[request.host])
        try:
            await self.sites.get(key, respond("404 Not Found", b"no"))(request, writer)
        finally:
            self._now[request.host] -= 1

    def pages(self) -> Counter[tuple[str, str]]:
        """Requests but for robots.txt."""
        return Counter({key: n for key, n in list(self.count.items()) if key[1] != "/robots.txt"})

    def settings(self, *hosts: str, **changes: Any) -> FetchSettings:
        """Settings that are quick, and lead these hosts here; `KIND.test` by TLS to the port of that certificate."""
        found = {f"{host}:80": f"127.0.0.1:{self.port}" for host in hosts}
        found |= {f"{kind}.test:443": f"127.0.0.1:{port}" for kind, port in self.tls_ports.items()}
        quick: dict[str, Any] = {
            "user_agent": AGENT,
            "per_domain_rate": 1000.0,
            "connect_timeout": 3.0,
            "total_timeout": 3.0,
            "retries": 1,
            "backoff": 0.01,
            "max_bytes": 200_000,
            "max_decoded_bytes": 10 << 20,
            "unsafe_test_hosts": found,
        }
        return FetchSettings(**(quick | changes))


def links(*urls: str) -> list[Link]:
    """The links of some posted URLs."""
    made = []
    for number, posted in enumerate(urls):
        url = canonical_url(posted) or "https://unreadable.test/"
        made.append(Link(number, url_id(url), url, posted))
    return made


def crawl(folder: Path, settings: FetchSettings, *urls: str, guard: Guard | None = None) -> dict[str, Finished]:
    """Fetch some URLs; posted URL -> how it ended."""
    wanted = links(*urls)
    guard = guard or Guard(settings.refused_networks, settings.unsafe_test_hosts)
    with Journal(folder, {"software": "test"}) as journal:
        asyncio.run(Crawl(settings, guard, journal, lambda ended: None).run(wanted, len(wanted)))
        return {urls[done.number]: done for done in journal.finished()}
