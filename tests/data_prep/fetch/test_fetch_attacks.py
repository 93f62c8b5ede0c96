"""What hostile servers do, and how each link then ends."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_server import (
    Answer,
    HostileServer,
    crawl,
    gzip_bomb,
    in_turn,
    page,
    raw,
    redirect,
    respond,
    robots,
    silence,
)
from test_fetch_guard import Names

from data_prep.fetch.link import Finished

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

ATTACKS: dict[str, tuple[Answer, str]] = {
    "slow drip of the body": (raw(OK + b"\r\n", forever=b"x", pause=0.05), "timeout"),
    "slow drip of the headers": (raw(OK, forever=b"X-A: b\r\n", pause=0.05), "timeout"),
    "silence": (silence, "timeout"),
    "endless 1xx answers": (raw(forever=b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.001), "timeout"),
    "endless body until close": (raw(OK + b"\r\n", forever=b"x" * 65536), "too-large"),
    "endless chunked body": (raw(CHUNKED, forever=b"10000\r\n" + b"x" * 65536 + b"\r\n"), "too-large"),
    "one endless chunk": (raw(CHUNKED + b"fffffff\r\n", forever=b"x" * 65536), "too-large"),
    "huge Content-Length": (raw(OK + b"Content-Length: 99999999999\r\n\r\n", forever=b"x", pause=0.1), "too-large"),
    "gzip bomb": (respond(body=gzip_bomb(), Content_Encoding="gzip"), "compression-bomb"),
    "gzip that is merely large": (
        respond(body=gzip.compress(os.urandom(150_000) + bytes(11 << 20), 9), Content_Encoding="gzip"),
        "too-large",
    ),
    "gzip that is damaged": (respond(body=b"\x1f\x8b\x08junkjunkjunk", Content_Encoding="gzip"), "bad-encoding"),
    "gzip within gzip": (respond(body=gzip_bomb(1), Content_Encoding="gzip, gzip"), "bad-encoding"),
    "brotli unasked": (respond(body=b"x", Content_Encoding="br"), "bad-encoding"),
    "Content-Length too long": (respond(body=b"x" * 100, length=1000, close=True), "incomplete"),
    "chunked, cut short": (raw(CHUNKED + b"64\r\nxx"), "incomplete"),
    "chunked, bad size": (raw(CHUNKED + b"zz\r\nxx\r\n0\r\n\r\n"), "bad-response"),
    "two Content-Lengths": (raw(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "bad-response"),
    "one header line of 1 MB": (raw(OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n"), "bad-response"),
    "endless headers": (raw(OK, forever=b"X-A: b\r\n" * 100), "bad-response"),
    "no HTTP at all": (raw(b"SSH-2.0-OpenSSH_9.0\r\n" * 10), "bad-response"),
    "closed without a word": (raw(), "connection-lost"),
    "binary content": (respond(body=b"\x7fELF", kind="application/octet-stream"), "content-type"),
    "an image": (respond(body=b"\x89PNG", kind="image/png"), "content-type"),
    "no content type": (respond(body=b"?", kind=None), "content-type"),
    "404": (respond("404 Not Found", b"no"), "http-404"),
    "500": (respond("500 Oops", b"no"), "http-500"),
    "206 unasked": (respond("206 Partial Content", b"part"), "http-206"),
    "redirect to itself": (redirect("/"), "redirect-loop"),
    "redirect without Location": (respond("302 Found"), "bad-redirect"),
    "redirect to 127.0.0.1": (redirect("http://127.0.0.1/"), "blocked-address"),
    "redirect to 169.254.169.254": (redirect("http://169.254.169.254/latest/meta-data/"), "blocked-address"),
    "redirect to [::1]": (redirect("http://[::1]/"), "blocked-address"),
    "redirect to [::ffff:127.0.0.1]": (redirect("http://[::ffff:127.0.0.1]/"), "blocked-address"),
    "redirect to [64:ff9b::7f00:1]": (redirect("http://[64:ff9b::7f00:1]/"), "blocked-address"),
    "redirect to 2130706433": (redirect("http://2130706433/"), "blocked-address"),
    "redirect to 0x7f.1": (redirect("http://0x7f.1/"), "blocked-address"),
    "redirect to 0177.0.0.1": (redirect("http://0177.0.0.1/"), "blocked-address"),
    "redirect to localhost": (redirect("http://localhost/"), "blocked-address"),
    "redirect to port 22": (redirect("http://public.test:22/"), "blocked-port"),
    "redirect to ftp:": (redirect("ftp://public.test/"), "blocked-scheme"),
    "redirect to file:": (redirect("file:///etc/passwd"), "blocked-scheme"),
    "redirect to rubbish": (redirect("http://[:::/"), "bad-redirect"),
}
TWICE = {"incomplete", "connection-lost", "http-500"}
"""Reasons that may pass, so that the one repetition of the tests is made."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(
    attack: str, server: HostileServer, tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    answer, reason = ATTACKS[attack]
    server.sites["evil.test", "/"] = answer
    server.sites["victim.test", "/"] = page("an honest page")
    settings = server.settings("evil.test", "victim.test")
    ended = crawl(tmp_path, settings, "http://evil.test/", "http://victim.test/")
    evil = ended["http://evil.test/"]
    record_property("attack", f"{attack} | {evil.outcome} | {evil.seconds:.2f} s")
    assert evil.outcome == reason
    assert ended["http://victim.test/"].outcome == "fetched"
    assert server.pages()["evil.test", "/"] == (2 if reason in TWICE else 1)


@pytest.mark.parametrize("kind", ["unknown-authority", "wrong-host", "expired"])
def test_bad_certificate(kind: str, server: HostileServer, tmp_path: Path) -> None:
    ended = crawl(tmp_path, server.settings(), f"https://{kind}.test/", "https://good.test/")
    assert ended[f"https://{kind}.test/"].outcome == "bad-certificate"
    assert ended["https://good.test/"].outcome == "http-404"  # the handshake was good
    assert {host for host, _ in server.count} == {"good.test"}


def test_plain_http_on_a_tls_port(server: HostileServer, tmp_path: Path) -> None:
    class Plain(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        settings = server.settings(unsafe_test_hosts={"plain.test:443": f"127.0.0.1:{plain.server_address[1]}"})
        assert crawl(tmp_path, settings, "https://plain.test/")["https://plain.test/"].outcome == "tls"
        plain.shutdown()


def test_a_closed_port(tmp_path: Path, server: HostileServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = server.settings(unsafe_test_hosts={"shut.test:80": f"127.0.0.1:{unused.getsockname()[1]}"})
        assert crawl(tmp_path, settings, "http://shut.test/")["http://shut.test/"].outcome == "no-connection"


def test_redirect_loop_over_two_pages(server: HostileServer, tmp_path: Path) -> None:
    server.sites["loop.test", "/a"] = redirect("/b")
    server.sites["loop.test", "/b"] = redirect("http://loop.test/a#elsewhere")
    ended = crawl(tmp_path, server.settings("loop.test"), "http://loop.test/a")
    assert ended["http://loop.test/a"].outcome == "redirect-loop"
    assert sum(server.pages().values()) == 2


def test_endless_redirects(server: HostileServer, tmp_path: Path) -> None:
    for i in range(30):
        server.sites["chain.test", f"/{i}"] = redirect(f"/{i + 1}")
    ended = crawl(tmp_path, server.settings("chain.test", max_redirects=4), "http://chain.test/0")
    assert ended["http://chain.test/0"].outcome == "too-many-redirects"
    assert sum(server.pages().values()) == 5


def test_a_body_longer_than_its_length_does_not_reach_the_next_page(server: HostileServer, tmp_path: Path) -> None:
    smuggled = OK + b"Content-Length: 7\r\n\r\nSMUGGLE"
    server.sites["evil.test", "/1"] = respond(body=b"0123456789" + smuggled * 3, length=10)
    for name in "234":
        server.sites["evil.test", f"/{name}"] = page(f"page {name}")
    urls = [f"http://evil.test/{name}" for name in "1234"]
    ended = crawl(tmp_path, server.settings("evil.test"), *urls)
    assert [ended[url].outcome for url in urls] == ["fetched"] * 4
    stored = b"".join(gzip.decompress(path.read_bytes()) for path in tmp_path.glob("*.warc.gz"))
    assert b"SMUGGLE" not in stored
    assert all(f"page {name}".encode() in stored for name in "234")


class Internet:
    """Connections to public addresses end at the test's server; what is connected to is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
        self.connected: list[tuple[str, int]] = []
        real = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

        async def sock_connect(loop: Any, sock: socket.socket, address: tuple[str, int]) -> None:
            self.connected.append(address[:2])
            await real(loop, sock, ("127.0.0.1", port))

        monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", sock_connect)


def test_dns_rebinding(server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is public when it is checked, and leads inside when it is asked for again."""
    internet = Internet(monkeypatch, server.port)
    server.sites["rebind.test", "/"] = respond(body=b"<p>hello</p>", Connection="close")
    guard = Names(["8.8.8.8"], ["127.0.0.1"])
    ended = crawl(tmp_path, server.settings(per_domain_rate=1000.0), "http://rebind.test/", guard=guard)
    assert ended["http://rebind.test/"].outcome == "fetched"
    assert {address for address, _ in internet.connected} == {"8.8.8.8"}
    assert guard.asked == 1  # what was checked is what was connected to


def test_dns_rebinding_between_two_connections(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet = Internet(monkeypatch, server.port)
    server.sites["rebind.test", "/"] = respond(body=b"<p>hello</p>", close=True, Connection="close")
    guard = Names(["8.8.8.8"], ["169.254.169.254"])

    def first_run() -> dict[str, Finished]:
        return crawl(tmp_path / "1", server.settings(), "http://rebind.test/", guard=guard)

    assert first_run()["http://rebind.test/"].outcome == "fetched"
    before = list(internet.connected)
    again = crawl(tmp_path / "2", server.settings(), "http://rebind.test/", guard=guard)
    assert again["http://rebind.test/"].outcome == "blocked-address"
    assert internet.connected == before


def test_a_name_that_leads_inside_is_not_connected_to(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet = Internet(monkeypatch, server.port)
    guard = Names(["10.1.2.3", "fd00:ec2::254", "64:ff9b::7f00:1"])
    ended = crawl(tmp_path, server.settings(), "http://inner.test/", "http://192.168.0.1/", guard=guard)
    assert {done.outcome for done in ended.values()} == {"blocked-address"}
    assert internet.connected == [] and not server.count


def test_a_redirect_is_looked_up_and_checked_again(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet = Internet(monkeypatch, server.port)
    server.sites["outer.test", "/"] = redirect("http://inner.test/")
    guard = Names(["8.8.8.8"], ["127.0.0.1"])
    ended = crawl(tmp_path, server.settings(), "http://outer.test/", guard=guard)
    assert ended["http://outer.test/"].outcome == "blocked-address"
    assert {address for address, _ in internet.connected} == {"8.8.8.8"}
    assert not server.count["inner.test", "/"]


def test_proxies_of_the_environment_are_not_used(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    server.sites["a.test", "/"] = page("x")
    assert crawl(tmp_path, server.settings("a.test"), "http://a.test/")["http://a.test/"].outcome == "fetched"


def test_cookies_are_not_kept_and_the_agent_says_who_it_is(server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/1"] = respond(body=b"<p>1</p>", Set_Cookie="track=me")
    server.sites["a.test", "/2"] = page("2")
    crawl(tmp_path, server.settings("a.test"), "http://a.test/1", "http://user:pw@a.test/2")
    for path in ("/robots.txt", "/1", "/2"):
        sent = server.headers["a.test", path]
        assert "TestCrawl" in sent["user-agent"] and "https://example.org/crawl" in sent["user-agent"]
        assert "cookie" not in sent and "authorization" not in sent


def test_a_robots_txt_that_would_take_gigabytes(server: HostileServer, tmp_path: Path) -> None:
    agents = "".join(f"User-agent: a{i}\n" for i in range(18_000))
    rules = "".join(f"Disallow: /{i}\n" for i in range(18_000))
    server.sites["evil.test", "/robots.txt"] = robots(agents + "User-agent: *\n" + rules)
    server.sites["evil.test", "/x"] = page("x")
    ended = crawl(tmp_path, server.settings("evil.test"), "http://evil.test/x", "http://evil.test/17")
    assert ended["http://evil.test/x"].outcome == "fetched"
    assert ended["http://evil.test/17"].outcome == "robots-disallowed"


def test_a_hostile_page_among_many_costs_only_itself(server: HostileServer, tmp_path: Path) -> None:
    urls = []
    for i in range(40):
        host = f"h{i}.test"
        server.sites[host, "/"] = in_turn(silence) if i % 8 == 0 else page(f"page {i}")
        urls.append(f"http://{host}/")
    settings = server.settings(*(f"h{i}.test" for i in range(40)), concurrency=8)
    ended = crawl(tmp_path, settings, *urls)
    assert [ended[url].outcome for url in urls] == ["timeout" if i % 8 == 0 else "fetched" for i in range(40)]
