"""What may be fetched, how gently, and when to stop reading."""

from __future__ import annotations

import ipaddress
import re

from pydantic import Field, field_validator

from data_prep.configfile import Count, Settings

_TOKEN = re.compile(r"[A-Za-z_-]+(?=[/ ]|$)")  # RFC 9309 2.2.1
_CONTACT = re.compile(r"https?://[^\s/]+\.[^\s]+|[^\s@<(+]+@[^\s@]+\.[A-Za-z]+")
_TEST_HOST = re.compile(r"[a-z0-9.-]+:(80|443)")
_TEST_TARGET = re.compile(r"127\.0\.0\.1:([0-9]{1,5})")


class ContentSettings(Settings):
    """The settings that decide what a URL gives; those who change them want the pages anew.

    Attributes:
        content_types: media types that are kept (RFC 2854, 3236, 2046). A response that names none is left out.
        max_bytes: longest body in bytes as sent.
        max_decoded_bytes: longest body in bytes, decompressed; as `pages.max_bytes`.
        max_ratio: most bytes of text from one compressed byte, of a body of more than 1 MiB. Real pages stay below 30.
        max_redirects: longest chain of redirects.
        unsafe_test_hosts: FOR TESTS ONLY: `{"name:80": "127.0.0.1:PORT"}` connects there instead of to the name's
            address, which makes a server on this machine reachable. Opens nothing but these ports of 127.0.0.1.
    """

    content_types: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain")
    max_bytes: Count = Field(default=10 << 20, gt=0)
    max_decoded_bytes: Count = Field(default=10 << 20, gt=0)
    max_ratio: float = Field(default=100.0, gt=1)
    max_redirects: int = Field(default=10, ge=0, le=50)
    unsafe_test_hosts: dict[str, str] = Field(default_factory=dict)

    @field_validator("unsafe_test_hosts")
    @classmethod
    def _only_loopback(cls, hosts: dict[str, str]) -> dict[str, str]:
        for host, target in hosts.items():
            if _TEST_HOST.fullmatch(host) is None or _TEST_TARGET.fullmatch(target) is None:
                raise ValueError(f"write name:80 or name:443 and 127.0.0.1:PORT, not {host!r}: {target!r}")
        return hosts


class FetchSettings(ContentSettings):
    """How the web is asked. All but `ContentSettings` may change in the middle of a run.

    Attributes:
        user_agent: sent with every request. Starts with the product token that robots.txt is searched for, and says
            how to reach whoever runs the crawl: a web address or an e-mail address. There is no default.
        concurrency: requests at a time, of one task.
        per_domain_rate: most requests a second to one registered domain.
        per_domain_concurrency: requests at a time to one registered domain.
        connect_timeout: seconds for name look-up, TCP and TLS.
        total_timeout: seconds for one request from its start to the last byte of the body.
        retries: how often a request is repeated after a failure that may pass (connection lost, 429, 5xx).
        backoff: seconds before the first repetition; doubled each time, and varied by half so that they spread.
        max_wait: longest Retry-After in seconds that is waited for; a domain that asks for more is left alone.
        max_crawl_delay: longest Crawl-delay in seconds that is honoured in full; a longer one counts as this.
        refused_networks: further networks never to connect to, for sites whose inner networks have public addresses.
    """

    user_agent: str
    concurrency: int = Field(default=32, gt=0, le=1024)
    per_domain_rate: float = Field(default=1.0, gt=0)
    per_domain_concurrency: int = Field(default=1, gt=0, le=16)
    connect_timeout: float = Field(default=10.0, gt=0)
    total_timeout: float = Field(default=60.0, gt=0)
    retries: int = Field(default=2, ge=0, le=10)
    backoff: float = Field(default=5.0, ge=0)
    max_wait: float = Field(default=300.0, ge=0)
    max_crawl_delay: float = Field(default=30.0, ge=0)
    refused_networks: tuple[str, ...] = ()

    @field_validator("user_agent")
    @classmethod
    def _honest(cls, value: str) -> str:
        if not (value.isascii() and value.isprintable()):
            raise ValueError("only printable ASCII may be sent as User-Agent")
        if _TOKEN.match(value) is None:
            raise ValueError("must start with a product token of letters, - and _, such as MyCrawl/1.0")
        if _CONTACT.search(value) is None:
            raise ValueError("must say how to reach you: add (+https://your.site/crawl; you@your.site)")
        return value

    @field_validator("refused_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @property
    def product_token(self) -> str:
        """The name that robots.txt files know this crawler by."""
        match = _TOKEN.match(self.user_agent)
        assert match is not None
        return match[0]

    def content(self) -> ContentSettings:
        """The part that decides what a URL gives."""
        return ContentSettings(**{name: getattr(self, name) for name in ContentSettings.model_fields})
