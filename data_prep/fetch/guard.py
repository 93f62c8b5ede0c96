"""Connects only to public addresses, and only to the very address that was checked.

A URL chosen by a stranger may point into the network of whoever fetches it: at the machine itself, at an inner service,
at the metadata service of a cloud, directly or through a host name or a redirect. The check therefore sits where the
socket is made (`Guard.open_socket`), with the address that is then connected to: no name is looked up between the two,
so a name server that changes its answer (DNS rebinding) gains nothing. `Guard.check` and `Guard.resolve` refuse earlier
what can be seen earlier.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from data_prep.fetch.failure import Failure

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = {"http": 80, "https": 443}

# IANA IPv4 Special-Purpose Address Registry (RFC 6890) where not globally reachable, multicast, and the
# addresses at which clouds answer their own machines.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); Alibaba's metadata 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform service
        "169.254.0.0/16",  # link-local; metadata 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Global unicast is 2000::/3 (RFC 4291 2.4): all else is refused unnamed, as loopback, fc00::/7 with fd00:ec2::254,
# fe80::/10, multicast, IPv4-mapped and -compatible addresses and 64:ff9b:1::/48 (local-use NAT64).
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo (embeds IPv4), ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 (embeds IPv4), deprecated by RFC 7526
        "3fff::/20",  # documentation
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address
_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE)  # RFC 1035 2.3.4, and _
_LAST_LABEL_IS_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)


def is_public(address: IPAddress, refused: Sequence[IPNetwork] = ()) -> bool:
    """Whether an address lies on the public Internet, and in none of the `refused` networks."""
    if any(address.version == network.version and address in network for network in refused):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(address.packed[-4:]), refused)
    return address.scope_id is None and address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def literal(host: str) -> IPAddress | None:
    """The address a host spells out, as browsers read it (WHATWG URL 3.5: 2130706433, 0x7f.1, 0177.0.0.1), if it does.

    Raises:
        Failure: it must be an address and is none.
    """
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host)
        except ValueError:
            raise Failure("bad-url", f"{host} is no address") from None
    host = host.removesuffix(".")
    if _LAST_LABEL_IS_NUMBER.fullmatch(host) is None:
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        raise Failure("bad-url", f"{host} is no address") from None


class Guard(AbstractResolver):
    """The only way from a URL to a socket.

    Args:
        refused: networks refused beside those that are not public.
        unsafe_test_hosts: see `ContentSettings`.
    """

    def __init__(self, refused: Sequence[str] = (), unsafe_test_hosts: Mapping[str, str] | None = None) -> None:
        self._refused = tuple(ipaddress.ip_network(network) for network in refused)
        self._test_hosts: dict[str, tuple[str, int]] = {}
        for name, target in (unsafe_test_hosts or {}).items():
            address, _, port = target.partition(":")
            self._test_hosts[name] = (address, int(port))

    def check(self, text: str | URL) -> URL:
        """A URL as it is requested: without user name, addresses in their usual spelling.

        Raises:
            Failure: bad-url, blocked-scheme, blocked-port or blocked-address.
        """
        try:
            url = URL(text)
            host, port = url.raw_host, url.port
        except (ValueError, TypeError) as error:  # UnicodeError is a ValueError
            raise Failure("bad-url", " ".join(str(error).split())[:200]) from None
        if url.scheme not in PORTS:
            raise Failure("blocked-scheme", url.scheme[:40])
        if not host or len(host) > 253 or (":" not in host and _NAME.fullmatch(host) is None):
            raise Failure("bad-url", "no valid host")
        if port not in PORTS.values():
            raise Failure("blocked-port", str(port))
        url = url.with_user(None)
        address = literal(host)
        if address is None:
            return url
        if not is_public(address, self._refused):
            raise Failure("blocked-address", str(address), host=True)
        return url.with_host(str(address))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a name up once; only what is public of the answer.

        Raises:
            Failure: nothing of it is.
            OSError: the name cannot be looked up.
        """
        target = self._test_hosts.get(f"{host}:{port}")
        if target is not None:
            return [_result(host, target[0], target[1], socket.AF_INET)]
        found = await self.look_up(host, port, family)
        public = [(address, kind) for address, kind in found if is_public(ipaddress.ip_address(address), self._refused)]
        if not public:
            raise Failure("blocked-address", ", ".join(address for address, _ in found)[:200], host=True)
        return [_result(host, address, port, kind) for address, kind in public]

    async def look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[tuple[str, socket.AddressFamily]]:
        """Addresses of a name as the system knows them."""
        answer = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        return [(str(address[0]), kind) for kind, _, _, _, address in answer]

    def open_socket(self, address_info: tuple[Any, ...]) -> socket.socket:
        """A socket to be connected to just this address (aiohttp's `socket_factory`).

        Raises:
            Failure: the address or the port is not allowed.
        """
        family, kind, protocol, _, (host, port, *_) = address_info
        if (host, port) not in self._test_hosts.values():
            if port not in PORTS.values():
                raise Failure("blocked-port", str(port))
            if not is_public(ipaddress.ip_address(host), self._refused):
                raise Failure("blocked-address", host, host=True)
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Nothing is held."""


def _result(hostname: str, host: str, port: int, family: socket.AddressFamily) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=hostname, host=host, port=port, family=family, proto=0, flags=flags)
