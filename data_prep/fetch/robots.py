"""robots.txt by RFC 9309: what a host allows this crawler, remembered per scheme, host and port."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from protego import Protego
from yarl import URL

from data_prep.fetch.failure import Failure

_KEPT_BYTES = 32 << 20
_FRESH_SECONDS = 24 * 3600.0  # RFC 9309 2.4
_UNREACHABLE_SECONDS = 600.0
_LARGE_BYTES = 1 << 15
_OTHER_AGENT = "~"  # no product token
_LEADING_TOKEN_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz-_")


@dataclass(frozen=True)
class Rules:
    """What one robots.txt says to one crawler.

    Attributes:
        delay: seconds between requests that it asks for.
        size: bytes of text it was made from.
        failure: why it could not be had, which forbids everything; None if it was had or there is none.
    """

    token: str
    delay: float = 0.0
    size: int = 0
    failure: Failure | None = None
    parsed: Protego | None = None

    def allows(self, url: str) -> bool:
        """Whether the crawler may request a URL; never raises on any string."""
        if self.failure is not None:
            return False
        try:
            return self.parsed is None or bool(self.parsed.can_fetch(url, self.token))
        except ValueError:  # a URL that it cannot take apart
            return False


def parse_rules(body: bytes, token: str) -> Rules:
    """The rules for the crawler with this product token; never raises on any bytes.

    Protego matches groups by prefix, and copies every rule to every agent of its group: 250 KiB of agents and as much
    of rules would take gigabytes. So it is given a text in which all agents but this crawler and `*` have one name.
    """
    lines: list[str] = []
    for line in body.decode("utf-8-sig", "replace").splitlines():
        text = line.partition("#")[0].strip()
        name, colon, value = text.partition(":")
        if not colon:  # tolerated as Google's parser does
            name, _, value = text.partition(" ")
        name, value = name.strip().lower(), value.strip()
        if name in ("user-agent", "useragent"):
            lines.append(f"user-agent: {_agent(value.lower(), token.lower())}")
        elif name and " " not in name and "agent" not in name:
            lines.append(f"{name}: {value}")
    parsed = Protego.parse("\n".join(lines))
    return Rules(token, delay=parsed.crawl_delay(token) or 0.0, size=len(body), parsed=parsed)


def _agent(value: str, token: str) -> str:
    if value == "*":
        return value
    end = next((i for i, c in enumerate(value) if c not in _LEADING_TOKEN_CHARACTERS), len(value))
    return token if value[:end] == token else _OTHER_AGENT


T = TypeVar("T")


async def beside_the_loop(size: int, call: Callable[..., T], *arguments: Any) -> T:
    """Call a function that works through a robots.txt of `size` bytes, in a thread if it is large.

    A hostile one can cost a second for each URL, in which the other requests must go on.
    """
    return await asyncio.to_thread(call, *arguments) if size > _LARGE_BYTES else call(*arguments)


class RobotsCache:
    """The rules of the hosts met last: at most 32 MiB of robots.txt, for 24 hours; of unreachable ones 10 minutes.

    Args:
        load: fetches the rules of the host of a URL; raises nothing.
    """

    def __init__(self, load: Callable[[URL], Awaitable[Rules]]) -> None:
        self._load = load
        self._loading: dict[str, asyncio.Future[Rules]] = {}
        self._known: OrderedDict[str, tuple[float, Rules]] = OrderedDict()
        self._size = 0

    async def rules_for(self, url: URL) -> Rules:
        """The rules of the URL's host; asked for once, however many wait."""
        key, loop = str(url.origin()), asyncio.get_running_loop()
        known = self._known.get(key)
        if known is not None and known[0] > loop.time():
            self._known.move_to_end(key)
            return known[1]
        waiting = self._loading.get(key)
        if waiting is None:
            waiting = self._loading[key] = asyncio.ensure_future(self._load(url))
            try:
                rules = await waiting
            finally:
                del self._loading[key]
            self._keep(key, rules, loop.time())
            return rules
        return await asyncio.shield(waiting)

    def _keep(self, key: str, rules: Rules, now: float) -> None:
        old = self._known.pop(key, None)
        if old is not None:
            self._size -= _weight(old[1])
        until = now + (_FRESH_SECONDS if rules.failure is None else _UNREACHABLE_SECONDS)
        self._known[key] = (until, rules)
        self._size += _weight(rules)
        while self._size > _KEPT_BYTES and len(self._known) > 1:
            _, (_, dropped) = self._known.popitem(last=False)
            self._size -= _weight(dropped)


def _weight(rules: Rules) -> int:
    return rules.size + 1024  # an entry without text takes memory too
