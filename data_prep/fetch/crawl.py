"""Many links at a time: an event loop for a whole task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from data_prep.errors import UserError
from data_prep.fetch.client import Client
from data_prep.fetch.fetcher import Fetcher, Outcome
from data_prep.fetch.guard import Guard
from data_prep.fetch.journal import Journal
from data_prep.fetch.link import Link
from data_prep.fetch.settings import FetchSettings
from data_prep.urls import host_of, registered_domain

WINDOW = 4096
"""Links in memory. They come in the order of their ids, which are hashes, so that a window holds a mix of domains."""
_OFFLINE_LINKS, _OFFLINE_DOMAINS, _OFFLINE_MOST = 100, 20, 10_000


class Crawl:
    """Fetches links until all have ended.

    Args:
        settings: limits and manners.
        guard: what leads from a URL to a socket.
        journal: receives the outcomes; links it has already are left out.
        tell: called with the number of links that have ended.
    """

    def __init__(self, settings: FetchSettings, guard: Guard, journal: Journal, tell: Callable[[int], None]) -> None:
        self._settings, self._guard, self._journal, self._tell = settings, guard, journal, tell
        self._queues: dict[str, deque[Link]] = {}
        self._workers: dict[str, int] = {}
        self._offline: list[tuple[Link, Outcome]] = []
        self._offline_domains: set[str] = set()
        self._waiting: list[tuple[Link, Outcome, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._ended = 0

    async def run(self, links: Iterable[Link], total: int) -> None:
        """Fetch all of `links` (at most `total` of them) that have not ended.

        Raises:
            UserError: nothing can be reached any more; what was fetched is kept.
        """
        done = bytearray(total)
        for number in self._journal.finished_numbers():
            done[number] = 1
        self._ended = sum(done)
        loop = asyncio.get_running_loop()
        # Name look-ups block a thread each.
        loop.set_default_executor(ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="look-up"))
        window = asyncio.Semaphore(WINDOW)
        with ThreadPoolExecutor(1, thread_name_prefix="journal") as disk:
            writing = asyncio.create_task(self._write(disk))
            try:
                async with Client(self._settings, self._guard) as client, asyncio.TaskGroup() as group:
                    fetcher = Fetcher(self._settings, self._guard, client)
                    for link in links:
                        if done[link.number]:
                            continue
                        await window.acquire()
                        self._queue(link, group, fetcher, window)
                await self._commit_held()
            except BaseExceptionGroup as several:
                raise _first(several) from None
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    def _queue(self, link: Link, group: asyncio.TaskGroup, fetcher: Fetcher, window: asyncio.Semaphore) -> None:
        """Give a link to the workers of its domain."""
        domain = registered_domain(host_of(link.url))
        self._queues.setdefault(domain, deque()).append(link)
        if self._workers.get(domain, 0) < self._settings.per_domain_concurrency:
            self._workers[domain] = self._workers.get(domain, 0) + 1
            group.create_task(self._work(domain, fetcher, window))

    async def _work(self, domain: str, fetcher: Fetcher, window: asyncio.Semaphore) -> None:
        queue = self._queues[domain]
        while queue:
            link = queue.popleft()

            async def keep(outcome: Outcome, link: Link = link) -> None:
                await self._keep(link, outcome)

            await fetcher.fetch(link, keep)
            window.release()
        self._workers[domain] -= 1
        if not self._workers[domain]:
            del self._workers[domain], self._queues[domain]

    async def _keep(self, link: Link, outcome: Outcome) -> None:
        """Commit an outcome; those that a lost network would explain wait until something else has been reached."""
        if outcome.failure is None or not outcome.failure.offline:
            await self._commit_held()
            await self._commit(link, outcome)
            return
        self._offline.append((link, outcome))
        self._offline_domains.add(registered_domain(host_of(link.url)))
        links, domains = len(self._offline), len(self._offline_domains)
        if links >= _OFFLINE_LINKS and domains >= _OFFLINE_DOMAINS:
            raise UserError(
                f"the last {links} links, on {domains} domains, could not be reached"
                f" ({outcome.failure.reason} {outcome.failure.detail})",
                where="fetch",
                fix="check this machine's network and run the same command again: it continues from what is fetched",
            )
        if links >= _OFFLINE_MOST:  # a few dead domains with many links
            await self._commit_held()

    async def _commit_held(self) -> None:
        held, self._offline, self._offline_domains = self._offline, [], set()
        await asyncio.gather(*(self._commit(link, outcome) for link, outcome in held))

    async def _commit(self, link: Link, outcome: Outcome) -> None:
        finished = asyncio.get_running_loop().create_future()
        self._waiting.append((link, outcome, finished))
        self._wake.set()
        await finished
        self._ended += 1
        self._tell(self._ended)

    async def _write(self, disk: ThreadPoolExecutor) -> None:
        """Commit what has come since the last commit, in a thread, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(disk, self._journal.commit, [(link, made) for link, made, _ in batch])
            except Exception as error:
                for _, _, finished in batch:
                    if not finished.done():
                        finished.set_exception(error)
                return  # the segment may end in half a record
            for _, _, finished in batch:
                if not finished.done():
                    finished.set_result(None)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One exception of a group: a user's error before others."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            found.append(error)
    return next((error for error in found if isinstance(error, UserError)), found[-1])
