"""Rates, numbers at a time, and waits that servers ask for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hostile_server import AGENT, HostileServer, crawl, in_turn, page, respond, robots
from hypothesis import given
from hypothesis import strategies as st

from data_prep.fetch.politeness import Turns, backoff, retry_after
from data_prep.fetch.settings import FetchSettings

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Thursday, 01-Jan-26 12:01:00 GMT", 60),
        (None, 0),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("٣", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=60) | st.integers().map(str) | st.integers(0, 99).map(lambda n: "9" * n * 100))
def test_no_retry_after_breaks_it(value: str) -> None:
    assert 0 <= retry_after(value, NOW) < float("inf")


@given(st.integers(0, 10))
def test_backoff_doubles(attempt: int) -> None:
    assert 2**attempt / 2 <= backoff(1.0, attempt) <= 2**attempt * 1.5


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(sorted(times))]


def test_the_rate_of_a_registered_domain_holds_over_its_hosts(server: HostileServer, tmp_path: Path) -> None:
    hosts = ["a.example.com", "b.example.com", "c.example.com"]
    for host in hosts:
        server.sites[host, "/"] = page(host)
    crawl(tmp_path, server.settings(*hosts, per_domain_rate=10.0), *(f"http://{host}/" for host in hosts))
    times = [time for host in hosts for time in server.times[host]]
    assert len(times) == 6  # a robots.txt and a page each
    # The times also hold what the way to the server took, which without a rate would be nearly all.
    assert max(times) - min(times) >= 5 * 0.1 / 2


def slow_page(text: str, seconds: float):  # type: ignore[no-untyped-def]
    async def answer(request, writer) -> None:  # type: ignore[no-untyped-def]
        await asyncio.sleep(seconds)
        await page(text)(request, writer)

    return answer


@pytest.mark.parametrize("most", [1, 2])
def test_requests_at_a_time_to_one_domain(most: int, server: HostileServer, tmp_path: Path) -> None:
    urls = []
    for i in range(6):
        server.sites["a.test", f"/{i}"] = slow_page(str(i), 0.2)
        urls.append(f"http://a.test/{i}")
    ended = crawl(tmp_path, server.settings("a.test", per_domain_concurrency=most), *urls)
    assert {done.outcome for done in ended.values()} == {"fetched"}
    assert server.together["a.test"] == most


def test_requests_at_a_time_in_all() -> None:
    settings = FetchSettings(user_agent=AGENT, concurrency=3, per_domain_rate=1e6)
    running = most = 0

    async def scenario() -> None:
        turns = Turns(settings)

        async def one(host: str) -> None:
            nonlocal running, most
            async with turns.turn(host):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1

        await asyncio.gather(*(one(f"h{i}.test") for i in range(30)))

    asyncio.run(scenario())
    assert most == 3


def test_turns_of_one_domain_are_apart_also_when_slots_are_short() -> None:
    settings = FetchSettings(user_agent=AGENT, concurrency=1, per_domain_rate=50, per_domain_concurrency=4)
    started: list[float] = []

    async def scenario() -> None:
        turns = Turns(settings)

        async def one(host: str, hold: float) -> None:
            async with turns.turn(host):
                if host == "a.test":
                    started.append(asyncio.get_running_loop().time())
                await asyncio.sleep(hold)

        await asyncio.gather(one("b.test", 0.1), *(one("a.test", 0.0) for _ in range(4)))

    asyncio.run(scenario())
    assert min(gaps(started)) >= 0.0199


def test_idle_domains_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.fetch.politeness._REMEMBERED_DOMAINS", 10)

    async def scenario() -> None:
        turns = Turns(FetchSettings(user_agent=AGENT, per_domain_rate=1e6))
        turns.close("closed.test")
        for i in range(100):
            async with turns.turn(f"h{i}.test"):
                pass
            await asyncio.sleep(0)
        assert len(turns._domains) <= 11
        assert turns.is_closed("closed.test")

    asyncio.run(scenario())


def test_crawl_delay_is_honoured_up_to_the_bound(server: HostileServer, tmp_path: Path) -> None:
    for host, delay in (("a.test", "0.2"), ("b.test", "3600")):
        server.sites[host, "/robots.txt"] = robots(f"User-agent: *\nCrawl-delay: {delay}")
        for i in range(3):
            server.sites[host, f"/{i}"] = page(f"{host} {i}")
    urls = [f"http://{host}/{i}" for host in ("a.test", "b.test") for i in range(3)]
    ended = crawl(tmp_path, server.settings("a.test", "b.test", max_crawl_delay=0.4), *urls)
    assert {done.outcome for done in ended.values()} == {"fetched"}
    for host, delay in (("a.test", 0.2), ("b.test", 0.4)):
        waits = gaps(server.times[host][1:])
        assert sum(waits) >= len(waits) * delay - 0.05  # single gaps also hold what the way to the server took


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Busy"])
def test_retry_after_is_waited_for(status: str, server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/1"] = in_turn(respond(status, Retry_After="1"), page("1"))
    server.sites["a.test", "/2"] = page("2")
    ended = crawl(tmp_path, server.settings("a.test"), "http://a.test/1", "http://a.test/2")
    assert [done.outcome for done in ended.values()] == ["fetched", "fetched"]
    assert max(gaps(server.times["a.test"])) >= 0.99


def test_a_wait_holds_for_the_whole_domain(server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/0"] = in_turn(respond("429 Slow", Retry_After="1"), page("0"))
    for i in range(1, 6):
        server.sites["a.test", f"/{i}"] = slow_page(str(i), 0.2)
    settings = server.settings("a.test", per_domain_concurrency=2)
    ended = crawl(tmp_path, settings, *(f"http://a.test/{i}" for i in range(6)))
    assert {done.outcome for done in ended.values()} == {"fetched"}
    times = server.times["a.test"]
    before = [time for time in times if time < times[0] + 0.9]
    assert len(times) == 8 and len(before) <= 3  # robots.txt, the 429, and what ran beside it


def test_a_retry_after_date_is_waited_for(server: HostileServer, tmp_path: Path) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    server.sites["a.test", "/"] = in_turn(respond("429 Slow", Retry_After=date), page("1"))
    ended = crawl(tmp_path, server.settings("a.test"), "http://a.test/")
    assert ended["http://a.test/"].outcome == "fetched"
    assert max(gaps(server.times["a.test"])) >= 1.0


def test_a_domain_that_asks_for_too_long_a_wait_is_left_alone(server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/1"] = respond("429 Slow", Retry_After="86400")
    server.sites["a.test", "/2"] = page("2")
    ended = crawl(tmp_path, server.settings("a.test"), "http://a.test/1", "http://a.test/2")
    assert ended["http://a.test/1"].outcome == "http-429"
    assert ended["http://a.test/2"].outcome == "rate-limited"
    assert server.pages() == {("a.test", "/1"): 1}


def test_repetitions_are_bounded(server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/"] = respond("429 Slow")
    ended = crawl(tmp_path, server.settings("a.test", retries=3), "http://a.test/")
    assert ended["http://a.test/"].outcome == "http-429"
    assert server.count["a.test", "/"] == 4
