"""No way leads to an address that is not public."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from data_prep.fetch.failure import Failure
from data_prep.fetch.guard import Guard, is_public, literal

FORBIDDEN = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
FORBIDDEN_6 = [
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "100::1",
    "64:ff9b:1::808:808",
    "64:ff9b:1:ffff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2001::1",
    "2001:0:808:808::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "2606:4700::1111%eth0",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "223.255.255.255"]
PUBLIC_6 = ["2606:4700:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", FORBIDDEN + FORBIDDEN_6)
def test_special_addresses_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", FORBIDDEN)
def test_nat64_is_as_good_as_the_address_in_it(address: str) -> None:
    embedded = int(ipaddress.IPv4Address(address))
    assert not is_public(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + embedded))


@pytest.mark.parametrize("address", PUBLIC + PUBLIC_6)
def test_public_addresses_pass(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_that_python_calls_special_is_refused(address: ipaddress.IPv4Address) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    assert not (special and is_public(address))
    # However it is wrapped into IPv6, it is no better.
    number = int(address)
    for wrapped in (0xFFFF << 32 | number, 0x2002 << 112 | number << 80, int(ipaddress.IPv6Address("2001::")) | number):
        assert not is_public(ipaddress.IPv6Address(wrapped))
    nat64 = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number)
    assert is_public(nat64) == is_public(address)


@given(st.ip_addresses(v=6) | st.integers(0, 2**125).map(lambda n: ipaddress.IPv6Address((1 << 125) + n % (1 << 125))))
def test_every_ipv6_address_that_python_calls_special_is_refused(address: ipaddress.IPv6Address) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_site_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and address not in ipaddress.IPv6Network("64:ff9b::/96"))
    )
    assert not (special and is_public(address))


@given(st.ip_addresses())
def test_a_refused_network_is_refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not is_public(address, [ipaddress.ip_network(f"{address}/{address.max_prefixlen - 3}", strict=False)])


def test_a_refused_network_holds_behind_nat64_too() -> None:
    assert not is_public(ipaddress.IPv6Address("64:ff9b::808:808"), [ipaddress.ip_network("8.8.0.0/16")])


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0X7F.1",
    "0177.0.0.1",
    "017700000001",
    "0x7f.0.0.0x1",
    "１２７.0.0.1",
    "127。0。0。1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[fd00:ec2::254]",
    "0",
    "[fe80::1%25eth0]",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_odd_spellings_of_inner_addresses_are_seen_through(host: str) -> None:
    with pytest.raises(Failure) as caught:
        Guard().check(f"http://{host}/latest/meta-data/")
    assert caught.value.reason in ("blocked-address", "bad-url")
    if "%" not in host:
        assert caught.value.reason == "blocked-address"


@given(st.ip_addresses(v=4), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_a_number_is_the_address_it_means(address: ipaddress.IPv4Address, form: str) -> None:
    assert literal(form.format(int(address))) == address


def test_a_public_address_in_an_odd_spelling_is_asked_for_in_the_usual_one() -> None:
    assert str(Guard().check("http://134744072/x")) == "http://8.8.8.8/x"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org:22/", "blocked-port"),
        ("http://example.org:8080/", "blocked-port"),
        ("https://example.org:6379/", "blocked-port"),
        ("ftp://example.org/", "blocked-scheme"),
        ("file:///etc/passwd", "blocked-scheme"),
        ("gopher://example.org/_x", "blocked-scheme"),
        ("javascript:alert(1)", "blocked-scheme"),
        ("//example.org/", "blocked-scheme"),
        ("", "blocked-scheme"),
        ("http:///x", "bad-url"),
        ("http://example.org:99999/", "bad-url"),
        ("http://good.example\\@evil.example/", "bad-url"),
        ("http:// /", "bad-url"),
        ("http://a..b/", "bad-url"),
        ("http://%31%32%37.0.0.1/", "bad-url"),
        ("http://1.2.3.4.5/", "bad-url"),
        ("http://999.1.1.1/", "bad-url"),
        ("http://0x/", "bad-url"),
        ("http://" + "a" * 300 + ".example/", "bad-url"),
    ],
)
def test_what_is_no_web_address_is_refused(url: str, reason: str) -> None:
    with pytest.raises(Failure) as caught:
        Guard().check(url)
    assert caught.value.reason == reason


def test_user_names_are_not_sent() -> None:
    assert str(Guard().check("http://user:secret@example.org/x")) == "http://example.org/x"


@given(
    st.text(max_size=200) | st.text(max_size=60).map(lambda t: f"http://{t}") | st.text().map(lambda t: f"http://a/{t}")
)
@example("http://[::1%]/")
@example("http://\udcff/")
@example("http://xn--/")
@example("http://[/")
@example("HTTP:// ")
def test_no_string_breaks_the_check(text: str) -> None:
    try:
        url = Guard().check(text)
    except Failure:
        return
    assert url.scheme in ("http", "https") and url.port in (80, 443) and url.raw_host
    assert url.user is None and url.password is None
    assert not any(c in str(url) for c in "\r\n ")


def address_info(host: str, port: int) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    rest = (0, 0) if ":" in host else ()
    return family, socket.SOCK_STREAM, 0, "", (host, port, *rest)


@pytest.mark.parametrize("host", [*FORBIDDEN, *FORBIDDEN_6])
def test_no_socket_is_made_for_an_inner_address(host: str) -> None:
    with pytest.raises(Failure, match="blocked-address"):
        Guard().open_socket(address_info(host, 80))


def test_no_socket_is_made_for_another_port() -> None:
    with pytest.raises(Failure, match="blocked-port"):
        Guard().open_socket(address_info("8.8.8.8", 22))


def test_the_exemption_for_tests_opens_one_port_and_no_more() -> None:
    guard = Guard((), {"a.test:80": "127.0.0.1:5555"})
    guard.open_socket(address_info("127.0.0.1", 5555)).close()
    for port in (80, 443, 5556):
        with pytest.raises(Failure):
            guard.open_socket(address_info("127.0.0.1", port))
    with pytest.raises(Failure):
        guard.open_socket(address_info("127.0.0.2", 5555))
    with pytest.raises(Failure):
        guard.check("http://127.0.0.1:5555/")


class Names(Guard):
    """Answers look-ups from a list, the last again and again."""

    def __init__(self, *answers: list[str]) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), 0

    async def look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[tuple[str, socket.AddressFamily]]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(a, socket.AF_INET6 if ":" in a else socket.AF_INET) for a in answer]


def test_only_what_is_public_of_an_answer_is_connected_to() -> None:
    guard = Names(["127.0.0.1", "8.8.8.8", "::1", "2606:4700::1"])
    found = asyncio.run(guard.resolve("mixed.example", 80))
    assert [result["host"] for result in found] == ["8.8.8.8", "2606:4700::1"]


def test_a_name_that_leads_inside_is_refused() -> None:
    with pytest.raises(Failure, match="blocked-address"):
        asyncio.run(Names(["10.0.0.5", "fd00::1"]).resolve("inner.example", 80))


def test_the_system_s_names_of_this_machine_are_refused() -> None:
    with pytest.raises(Failure, match="blocked-address"):
        asyncio.run(Guard().resolve("localhost", 80))
    assert isinstance(Guard().check("http://localhost/"), URL)  # a name: refused when it is looked up
