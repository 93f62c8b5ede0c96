"""One link from its URL to a page or to the reason why there is none: robots, redirects, repetitions."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from yarl import URL

from data_prep.fetch.body import gunzip_prefix
from data_prep.fetch.client import REDIRECTS, ROBOTS_BYTES, Client, Reply, Want
from data_prep.fetch.failure import Failure
from data_prep.fetch.guard import Guard
from data_prep.fetch.link import Link
from data_prep.fetch.politeness import Turns, backoff, retry_after
from data_prep.fetch.robots import RobotsCache, Rules, beside_the_loop, parse_rules
from data_prep.fetch.settings import FetchSettings
from data_prep.urls import canonical_url

_ROBOTS_REDIRECTS = 5  # RFC 9309 2.3.1.2
_MAY_PASS = frozenset({429, 500, 502, 503, 504})
_BUSY = frozenset({429, 503})


@dataclass(frozen=True)
class Outcome:
    """How a link ended.

    Attributes:
        hops: the answers from the link to the page, with the URL of each; empty unless fetched.
        failure: why it was not fetched.
        seconds: how long it took, waiting for turns included.
    """

    hops: tuple[tuple[str, Reply], ...]
    failure: Failure | None
    seconds: float


Keep = Callable[[Outcome], Awaitable[None]]


class Fetcher:
    """Fetches links; must be made and used inside one event loop.

    Args:
        settings: limits and manners.
        guard: what leads from a URL to a socket.
        client: sends the requests.
    """

    def __init__(self, settings: FetchSettings, guard: Guard, client: Client) -> None:
        self._settings, self._guard, self._client = settings, guard, client
        self._turns = Turns(settings)
        self._robots = RobotsCache(self._load_robots)

    async def fetch(self, link: Link, keep: Keep) -> None:
        """Fetch one link and hand over the outcome, a page before its turn is given back.

        So no more pages are in memory than requests may run at a time.
        """
        start = time.monotonic()
        try:
            await self._follow(link, start, keep)
        except Failure as failure:
            await keep(Outcome((), failure.fresh(), time.monotonic() - start))

    async def _follow(self, link: Link, start: float, keep: Keep) -> None:
        url, name = self._guard.check(link.posted_url), record_url(link)
        hops: list[tuple[str, Reply]] = []
        seen: set[URL] = set()

        async def page(reply: Reply) -> None:
            await keep(Outcome((*hops, (name, reply)), None, time.monotonic() - start))

        while True:
            seen.add(url.with_fragment(None))
            rules = await self._robots.rules_for(url)
            if rules.failure is not None:
                raise rules.failure.fresh() if rules.failure.host else _unreachable(rules.failure)
            if not await beside_the_loop(rules.size, rules.allows, str(url)):
                raise Failure("robots-disallowed", str(url)[:200] if hops else "")
            reply = await self._request(url, Want.PAGE, rules.delay, page)
            if reply.status == 200:
                return
            if reply.status not in REDIRECTS:
                raise Failure(f"http-{reply.status}")
            hops.append((name, reply))
            if len(hops) > self._settings.max_redirects:
                raise Failure("too-many-redirects", str(url)[:200])
            url = self._target(url, reply)
            if url.with_fragment(None) in seen:
                raise Failure("redirect-loop", str(url)[:200])
            name = _without_fragment(url)

    def _target(self, url: URL, reply: Reply) -> URL:
        """Where a redirect leads, checked like any other URL."""
        location = reply.header("location")
        if not location:
            raise Failure("bad-redirect", "no Location")
        try:
            target = url.join(URL(location))
        except (ValueError, TypeError) as error:
            raise Failure("bad-redirect", f"{location[:100]!r}: {error}") from None
        try:
            return self._guard.check(target)
        except Failure as failure:
            raise Failure(failure.reason, f"redirect to {str(target)[:200]}") from None

    async def _request(
        self, url: URL, want: Want, delay: float = 0.0, use: Callable[[Reply], Awaitable[None]] | None = None
    ) -> Reply:
        """A request, repeated if the failure may pass; `use` is called with a 200 within the turn."""
        rules, host = self._settings, url.raw_host or ""
        delay = min(delay, rules.max_crawl_delay)
        for attempt in itertools.count():
            if self._turns.is_closed(host):
                raise Failure("rate-limited", "the domain asked for a longer wait than max_wait")
            last = attempt == rules.retries
            wait = min(backoff(rules.backoff, attempt), rules.max_wait)
            try:
                async with self._turns.turn(host, delay):
                    reply = await self._client.get(url, want)
                    if reply.status == 200 and use is not None:
                        await use(reply)
            except Failure as failure:
                if last or not failure.retry:
                    raise
            else:
                if reply.status in _BUSY:
                    wait = max(wait, retry_after(reply.header("retry-after")))
                    if wait > rules.max_wait:
                        self._turns.close(host)
                        return reply
                    self._turns.pause(host, wait)
                if last or reply.status not in _MAY_PASS:
                    return reply
            await asyncio.sleep(wait)
        raise AssertionError  # the loop does not end

    async def _load_robots(self, url: URL) -> Rules:
        """The robots.txt of a URL's host. 4xx: all is allowed; 429, 5xx or no answer: nothing is (RFC 9309 2.3.1)."""
        token = self._settings.product_token
        target = url.origin().with_path("/robots.txt")
        try:
            for _ in range(_ROBOTS_REDIRECTS + 1):
                reply = await self._request(target, Want.ROBOTS)
                if reply.status == 200:
                    text = _robots_text(reply)
                    return await beside_the_loop(len(text), parse_rules, text, token)
                if reply.status in REDIRECTS:
                    target = self._target(target, reply)
                elif 400 <= reply.status < 500 and reply.status != 429:
                    return Rules(token)
                else:
                    raise Failure(f"http-{reply.status}")
        except Failure as failure:
            # A page is not to blame for a robots.txt that leads to another host which is gone.
            own = target.origin() == url.origin()
            return Rules(token, failure=failure.fresh() if own else Failure(failure.reason, failure.detail))
        return Rules(token)  # RFC 9309 2.3.1.2: more than five redirects may be taken as unavailable


def _unreachable(cause: Failure) -> Failure:
    detail = f"{cause.reason} {cause.detail}".strip()
    return Failure("robots-unreachable", detail, offline=cause.offline)


def _robots_text(reply: Reply) -> bytes:
    gzipped = "gzip" in (reply.header("content-encoding") or "").lower()
    return gunzip_prefix(reply.body, ROBOTS_BYTES) if gzipped else reply.body


def record_url(link: Link) -> str:
    """The link's URL as a WARC header can carry it: as submitted if that is plain, else in its canonical form."""
    posted = link.posted_url
    plain = posted.isascii() and posted.isprintable() and " " not in posted and "@" not in posted
    return posted if plain and canonical_url(posted) == link.url else link.url


def _without_fragment(url: URL) -> str:
    """A fragment that begins with `!` names a page of its own, see `data_prep.urls`."""
    return str(url if url.raw_fragment.startswith("!") else url.with_fragment(None))
