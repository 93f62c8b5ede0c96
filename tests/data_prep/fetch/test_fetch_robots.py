"""robots.txt: what it says, what it means when it cannot be had, and that it cannot do harm."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
from pathlib import Path

import pytest
from hostile_server import Answer, HostileServer, crawl, page, raw, redirect, respond, robots, silence
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from data_prep.fetch.robots import RobotsCache, Rules, parse_rules

TOKEN = "TestCrawl"


def allows(text: str, path: str, token: str = TOKEN) -> bool:
    return parse_rules(text.encode(), token).allows(f"http://e.test{path}")


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/x", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow:", "/x", True),
        ("User-agent: TestCrawl\nDisallow: /private", "/private/1", False),
        ("USER-AGENT: testcrawl\nDISALLOW: /private", "/private/1", False),
        ("User-agent: TestCrawl/2.0\nDisallow: /", "/x", False),
        ("User-agent: Other\nDisallow: /", "/x", True),
        # One group names us: the one for all does not count (RFC 9309 2.2.1).
        ("User-agent: *\nDisallow: /\nUser-agent: TestCrawl\nAllow: /", "/x", True),
        ("User-agent: Other\nUser-agent: TestCrawl\nDisallow: /", "/x", False),
        # A name that ours begins with is another's.
        ("User-agent: Test\nAllow: /\nUser-agent: *\nDisallow: /", "/x", False),
        ("User-agent: TestCrawler\nAllow: /\nUser-agent: *\nDisallow: /", "/x", False),
        # The longest match wins, and Allow where equal (RFC 9309 2.2.2).
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nAllow: /a\nDisallow: /a/b", "/a/b/c", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        ("User-agent: *\nDisallow: /*.pdf$", "/x.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x.pdf?a", True),
        ("\ufeffUser-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\r\nDisallow: /x # why\r\n", "/x", False),
        ("User-agent *\nDisallow /x", "/x", False),
        ("User-agent: *\nDisallow /x", "/x", False),
        ("Disallow: /", "/x", True),
    ],
)
def test_rules(text: str, path: str, allowed: bool) -> None:
    assert allows(text, path) is allowed


def test_crawl_delay_is_that_of_our_group() -> None:
    text = b"User-agent: *\nCrawl-delay: 9\nUser-agent: TestCrawl\nCrawl-delay: 2.5\n"
    assert parse_rules(text, TOKEN).delay == 2.5
    assert parse_rules(text, "Another").delay == 9
    assert parse_rules(b"User-agent: *\nCrawl-delay: soon", TOKEN).delay == 0


@given(st.binary(max_size=2000), st.text(max_size=200))
def test_no_bytes_break_it(body: bytes, url: str) -> None:
    rules = parse_rules(body, TOKEN)
    assert rules.allows(url) in (True, False)
    assert rules.allows("http://e.test/" + url) in (True, False)
    assert 0 <= rules.delay < float("inf")


WORDS = [
    "User-agent",
    "Disallow",
    "Allow",
    "Crawl-delay",
    "Sitemap",
    ":",
    " ",
    "*",
    "$",
    "TestCrawl",
    "/a",
    "%",
    "#",
    "\n",
]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=60), st.text(alphabet="/a*$%?&=.", max_size=30))
def test_no_near_robots_txt_breaks_it(words: list[str], path: str) -> None:
    rules = parse_rules("".join(words).encode("utf-8", "surrogatepass"), TOKEN)
    assert rules.allows(f"http://e.test/{path}") in (True, False)
    assert 0 <= rules.delay < float("inf")


def test_agents_times_rules_do_not_multiply() -> None:
    agents = "".join(f"user-agent: a{i}\n" for i in range(5000))
    text = (agents + "".join(f"disallow: /{i}\n" for i in range(5000))).encode()
    tracemalloc.start()
    parse_rules(text, TOKEN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20  # 25 million rules would be gigabytes


def test_half_a_megabyte_of_wildcards_is_matched() -> None:
    text = "user-agent: *\n" + "".join(f"disallow: /*a*a*a*a*a*a*a*b{i}$\n" for i in range(14_000))
    assert parse_rules(text.encode()[: 500 << 10], TOKEN).allows("http://e.test/" + "a" * 8000)


CASES: dict[str, tuple[Answer, str]] = {
    "allowed": (robots("User-agent: *\nDisallow: /other"), "fetched"),
    "denied": (robots("User-agent: *\nDisallow: /"), "robots-disallowed"),
    "404": (respond("404 Not Found"), "fetched"),
    "403": (respond("403 Forbidden"), "fetched"),
    "500": (respond("500 Oops"), "robots-unreachable"),
    "503": (respond("503 Busy"), "robots-unreachable"),
    "429": (respond("429 Slow down"), "robots-unreachable"),
    "silent": (silence, "robots-unreachable"),
    "endless": (
        raw(b"HTTP/1.1 200 OK\r\n\r\nUser-agent: *\nDisallow: /\n", forever=b"#\n" * 9999),
        "robots-disallowed",
    ),
    "slow": (raw(b"HTTP/1.1 200 OK\r\n\r\n", forever=b"#", pause=0.05), "robots-unreachable"),
    "redirect to deny": (redirect("/deny.txt"), "robots-disallowed"),
    "redirect to itself": (redirect("/robots.txt"), "fetched"),
    "redirect inside": (redirect("http://127.0.0.1/robots.txt"), "robots-unreachable"),
    "redirect to a server that is gone": (redirect("http://gone.test/robots.txt"), "robots-unreachable"),
    "gzip": (
        respond(body=gzip.compress(b"User-agent: *\nDisallow: /"), Content_Encoding="gzip", kind="text/plain"),
        "robots-disallowed",
    ),
    "gzip bomb": (respond(body=gzip.compress(bytes(64 << 20)), Content_Encoding="gzip"), "fetched"),
    "beyond 500 KiB": (robots("#" * (500 << 10) + "\nUser-agent: *\nDisallow: /"), "fetched"),
    "within 500 KiB": (robots("#" * (499 << 10) + "\nUser-agent: *\nDisallow: /"), "robots-disallowed"),
    "HTML": (page("not a robots.txt"), "fetched"),
}


@pytest.mark.parametrize("case", CASES)
def test_answers(case: str, server: HostileServer, tmp_path: Path) -> None:
    answer, outcome = CASES[case]
    server.sites["e.test", "/robots.txt"] = answer
    server.sites["e.test", "/deny.txt"] = robots("User-agent: *\nDisallow: /")
    server.sites["e.test", "/1"] = page("one")
    server.sites["e.test", "/2"] = page("two")
    rules = server.settings("e.test")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        hosts = rules.unsafe_test_hosts | {"gone.test:80": f"127.0.0.1:{unused.getsockname()[1]}"}
        rules = rules.model_copy(update={"unsafe_test_hosts": hosts})
        ended = crawl(tmp_path, rules, "http://e.test/1", "http://e.test/2")
    assert {done.outcome for done in ended.values()} == {outcome}
    assert server.count["e.test", "/1"] == (outcome == "fetched")
    # Asked for once for both pages; a failure that may pass once more; of a chain of redirects, five are followed.
    asked = {"500": 2, "503": 2, "429": 2, "redirect to itself": 6}.get(case, 1)
    assert server.count["e.test", "/robots.txt"] == asked


def test_the_rules_of_a_redirect_s_target_count(server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/"] = redirect("http://b.test/private")
    server.sites["b.test", "/robots.txt"] = robots("User-agent: *\nDisallow: /private")
    server.sites["b.test", "/private"] = page("private")
    ended = crawl(tmp_path, server.settings("a.test", "b.test"), "http://a.test/")
    assert ended["http://a.test/"].outcome == "robots-disallowed"
    assert not server.count["b.test", "/private"]


def test_the_cache_asks_once_forgets_by_size_and_asks_again_when_unreachable_or_old() -> None:
    asked: list[str] = []

    async def scenario() -> None:
        now = 0.0
        loop = asyncio.get_running_loop()
        loop.time = lambda: now  # type: ignore[method-assign]

        async def load(url: URL) -> Rules:
            asked.append(url.host or "")
            from data_prep.fetch.failure import Failure

            failure = Failure("http-500") if url.host == "down.test" else None
            return Rules(TOKEN, size=20 << 20 if "big" in str(url) else 0, failure=failure)

        cache = RobotsCache(load)
        await asyncio.gather(*(cache.rules_for(URL("http://a.test/")) for _ in range(5)))
        await cache.rules_for(URL("http://a.test/other"))
        assert asked == ["a.test"]
        await cache.rules_for(URL("https://a.test/"))
        assert asked == ["a.test"] * 2  # another scheme, another robots.txt
        await cache.rules_for(URL("http://down.test/"))
        now = 601.0
        await cache.rules_for(URL("http://down.test/"))
        await cache.rules_for(URL("http://a.test/"))
        assert asked[2:] == ["down.test"] * 2
        now = 90_000.0
        await cache.rules_for(URL("http://a.test/"))
        assert asked[4:] == ["a.test"]
        for name in ("big1.test", "big2.test", "big1.test"):
            await cache.rules_for(URL(f"http://{name}/"))
        assert asked[5:] == ["big1.test", "big2.test", "big1.test"]

    asyncio.run(scenario())
