"""When a request may go out: a rate and a number at a time per registered domain, and a number at a time in all."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from data_prep.fetch.settings import FetchSettings
from data_prep.urls import registered_domain

_REMEMBERED_DOMAINS = 1 << 14


@dataclass
class _Domain:
    slots: asyncio.Semaphore
    ready_at: float = 0.0
    users: int = 0
    closed: bool = False


class Turns:
    """Hands out turns to send a request. Times are those of the running event loop, in seconds.

    Idle domains are forgotten beyond 16,384 of them, so that memory does not grow with the number of domains.
    """

    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings
        self._gap = 1.0 / settings.per_domain_rate
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._domains: dict[str, _Domain] = {}

    @contextlib.asynccontextmanager
    async def turn(self, host: str, delay: float = 0.0) -> AsyncIterator[None]:
        """Wait until a request to `host` may start; the body is the request.

        Args:
            host: whose registered domain counts.
            delay: seconds until the next request to the domain, if longer than the rate says.
        """
        domain, loop = self._domain(host), asyncio.get_running_loop()
        domain.users += 1
        try:
            async with domain.slots:
                while True:
                    while (wait := domain.ready_at - loop.time()) > 0:
                        await asyncio.sleep(wait)
                    async with self._slots:
                        # While this waited for a slot, another request or a `pause` may have moved the time.
                        if domain.ready_at > loop.time():
                            continue
                        domain.ready_at = loop.time() + max(self._gap, delay)
                        yield
                        return
        finally:
            domain.users -= 1

    def pause(self, host: str, seconds: float) -> None:
        """No request to the registered domain of `host` for so long."""
        domain = self._domain(host)
        domain.ready_at = max(domain.ready_at, asyncio.get_running_loop().time() + seconds)

    def close(self, host: str) -> None:
        """Leave the registered domain of `host` alone from now on."""
        self._domain(host).closed = True

    def is_closed(self, host: str) -> bool:
        """Whether the registered domain of `host` is left alone."""
        return self._domain(host).closed

    def _domain(self, host: str) -> _Domain:
        name = registered_domain(host)
        domain = self._domains.get(name)
        if domain is None:
            if len(self._domains) >= _REMEMBERED_DOMAINS:
                now = asyncio.get_running_loop().time()
                self._domains = {k: d for k, d in self._domains.items() if d.users or d.closed or d.ready_at > now}
            domain = self._domains[name] = _Domain(asyncio.Semaphore(self._settings.per_domain_concurrency))
        return domain


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110 10.2.3: seconds or a date); 0 if it says nothing."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:10])
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def backoff(base: float, attempt: int) -> float:
    """Seconds before repetition `attempt` (0-based): doubled each time, times a random factor of 0.5 to 1.5."""
    return base * 2.0**attempt * random.uniform(0.5, 1.5)
