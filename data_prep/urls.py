"""Canonical URLs: one spelling for all spellings of a page's address, and the id derived from it.

The canonical form joins what submitters vary without changing the page: `http`/`https`, a leading `www.`, letter case
of scheme and host, default port, user name, fragment, dot segments, needless percent-encoding, tracking
parameters and the order of the query. Nothing else is touched: path case, trailing slashes, `index.html`, repeated
slashes (`web.archive.org/web/2016/http://...`) and ports that are not the default all stay as they are.

Two rules are ours and can merge addresses that a server might tell apart: the scheme (on default ports) and the
leading `www.` label(s), which is dropped only where a registrable domain remains (`www.com` stays).
"""

from __future__ import annotations

import binascii
import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

import idna
import numpy as np
import tldextract
import xxhash
from numpy.typing import NDArray

_MAX_CHARACTERS = 8192
_MAX_HOST = 253  # RFC 1035 2.3.4
_URL = re.compile(
    r"(?P<scheme>https?):[/\\]{2}(?P<authority>[^/\\?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{0,5}))?")
_ASCII_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_DEFAULT_PORT = {"http": 80, "https": 443}
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# What RFC 3986 3.3 and 3.4 do not allow as it stands; `%` to be looked at.
_NOT_IN_PATH = re.compile(rb"%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/-]")
_NOT_IN_QUERY = re.compile(rb"%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/?-]")
# What most submitted addresses look like: nothing to escape or decode in it.
_PLAIN = re.compile(
    r"(https?://[a-z0-9_.-]+)(/[A-Za-z0-9._~!$&'()*+,;=:@/-]*)?(?:\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]+))?(?:#(?!!)[!-~]*)?"
)
_WHITESPACE = "".join(map(chr, range(0x21)))

TRACKING = re.compile(
    r"utm_\w+|fbclid|gclid|gclsrc|dclid|wbraid|gbraid|msclkid|yclid|twclid|ttclid|igshid|mc_cid|mc_eid|mkt_tok"
    r"|_hsenc|_hsmi|_openstat|oly_anon_id|oly_enc_id|vero_id|wickedid|s_cid|ncid|cmpid|_ga",
    re.IGNORECASE,
)
"""Query parameters that name how a reader came to a page, not the page (list: ours)."""

# No list is fetched and no cache is written: the snapshot inside the package decides.
_suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


def canonical_url(url: str) -> str | None:
    """The canonical form, or None if `url` is not an absolute http(s) URL with a valid host.

    Idempotent; never raises on any string.
    """
    plain = _PLAIN.fullmatch(url)
    if plain is not None and len(url) <= _MAX_CHARACTERS:
        start, path, query = plain.groups()
        if path is None or "/." not in path:
            origin = _plain_origin(start)
            if origin is None:
                return None
            query = _sorted(query.split("&")) if query else ""
            return f"{origin}{path or '/'}{'?' if query else ''}{query}"
    return _canonical(url)


def _canonical(url: str) -> str | None:
    """The canonical form of any string."""
    # WHATWG URL 4.4: strip C0 controls and spaces at the ends, remove tabs and newlines inside.
    text = url.strip(_WHITESPACE).replace("\t", "").replace("\n", "").replace("\r", "")
    if len(text) > _MAX_CHARACTERS or (match := _URL.fullmatch(text)) is None:
        return None
    origin = _origin(match["scheme"].lower(), match["authority"].rpartition("@")[2])
    if origin is None:
        return None
    try:
        path = _remove_dot_segments(_escape(match["path"].replace("\\", "/"), _NOT_IN_PATH)) or "/"
        query = _query(match["query"] or "")
        fragment = match["fragment"] or ""
        # `#!` names a page of its own (the AJAX crawling scheme of 2009-2015); any other fragment a place in it.
        fragment = "#" + _escape(fragment, _NOT_IN_QUERY) if fragment.startswith("!") else ""
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return f"{origin}{path}{'?' if query else ''}{query}{fragment}"


def url_id(canonical: str) -> str:
    """Identity of a page: xxh3_128 of the canonical URL, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(canonical.encode())


def partition_of(url_id: str, partitions: int) -> int:
    """Which of `partitions` equal ranges of the id space an id falls into; ranges are in the order of the ids."""
    return int(url_id[:8], 16) * partitions >> 32


def partitions_of(url_ids: Sequence[str], partitions: int) -> NDArray[np.int64]:
    """`partition_of` for many ids at once."""
    digits = np.array(url_ids, dtype="S8")  # numpy keeps the first eight characters
    heads = np.frombuffer(binascii.unhexlify(digits.tobytes()), dtype=">u4").astype(np.int64)
    return heads * partitions >> 32


def host_of(canonical: str) -> str:
    """Host (without port) of a canonical URL."""
    authority = canonical.split("/", 3)[2]
    return authority.partition("]")[0] + "]" if authority.startswith("[") else authority.partition(":")[0]


def registered_domain(host: str) -> str:
    """The part of a host that someone registered (`news.bbc.co.uk` -> `bbc.co.uk`); the host itself if there is none.

    The public suffix list is the snapshot bundled with tldextract, without its private section (`github.io` is
    a registered domain).
    """
    return _registrable(host) or host


@lru_cache(maxsize=1 << 16)
def _registrable(host: str) -> str:
    return _suffixes(host).top_domain_under_public_suffix


def _without_www(host: str) -> str:
    while host.startswith("www.") and _registrable(host[4:]):
        host = host[4:]
    return host


@lru_cache(maxsize=1 << 16)
def _origin(scheme: str, authority: str) -> str | None:
    """Scheme, host and port in canonical form; None if the authority is not valid."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (host := _host(match["host"])) is None:
        return None
    port = int(match["port"] or _DEFAULT_PORT[scheme])
    if port > 0xFFFF:
        return None
    # The schemes are one only where both mean their default port: http://x:443 is not https://x.
    return f"https://{host}" if port == _DEFAULT_PORT[scheme] else f"{scheme}://{host}:{port}"


@lru_cache(maxsize=1 << 16)
def _plain_origin(start: str) -> str | None:
    """Canonical scheme and host of a scheme and host in lower case without a port."""
    host = _host(start[start.index("/") + 2 :])
    return None if host is None else f"https://{host}"


def _host(raw: str) -> str | None:
    """Lower-case ASCII host, IPv6 in its shortest form; None if it is not a host."""
    if raw.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(raw[1:-1]).compressed}]" if "%" not in raw else None
        except ValueError:
            return None
    host = raw.lower()
    if not host.isascii():
        if len(host) > _MAX_HOST:
            return None
        try:
            host = idna.encode(host, uts46=True).decode("ascii").lower()
        except (idna.IDNAError, UnicodeError):
            return None
    host = host.removesuffix(".")
    if len(host) > _MAX_HOST or _ASCII_HOST.fullmatch(host) is None:
        return None
    return _without_www(host)


def _escape(text: str, not_allowed: re.Pattern[bytes]) -> str:
    """RFC 3986 6.2.2: unreserved characters plain, escapes in upper case, everything not allowed here escaped."""

    def one(match: re.Match[bytes]) -> bytes:
        found = match[0]
        byte = int(found[1:], 16) if len(found) == 3 else found[0]
        return bytes([byte]) if byte in _UNRESERVED else b"%%%02X" % byte

    return not_allowed.sub(one, text.encode()).decode("ascii")


def _remove_dot_segments(path: str) -> str:
    """RFC 3986 5.2.4 for an absolute path."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _query(query: str) -> str:
    return _sorted([_escape(part, _NOT_IN_QUERY) for part in query.split("&")]) if query else ""


def _sorted(parts: list[str]) -> str:
    """Without tracking parameters and empty parts, sorted by name; values of one name keep their order."""
    kept = [part for part in parts if part and not _is_tracking(part.partition("=")[0])]
    if len(kept) > 1:
        kept.sort(key=lambda part: part.partition("=")[0])
    return "&".join(kept)


@lru_cache(maxsize=1 << 16)
def _is_tracking(name: str) -> bool:
    return TRACKING.fullmatch(name) is not None
