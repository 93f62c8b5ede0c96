"""The key by which web archive indexes are sorted: host reversed, and what rarely tells pages apart left out.

`https://www.Example.com:443/a//B/?y=2&x=1` -> `com,example)/a/b?x=1&y=2` (Sort-friendly URI Reordering Transform, as
Common Crawl and the Internet Archive apply it). Many pages may share a key, as it knows neither scheme nor letter case
nor `www.`: whoever looks up by it compares the canonical URLs.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_URL = re.compile(r"https?://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_WWW = re.compile(r"(?:www[0-9]*\.)+")
_NOT_PLAIN = re.compile(rb"[^!-\x7f]|[#%]")
_SLASHES = re.compile(rb"/+")
# Session identifiers of ASP.NET in the path; of Java, PHP, ASP and ColdFusion in the query.
_PATH_SESSION = re.compile(rb"/\((?:[a-z]\([0-9a-z]{24}\))+\)(?=/[^?]+\.aspx)|/\([0-9a-z]{24}\)(?=/[^?]+\.aspx)")
_QUERY_SESSION = re.compile(
    rb"(?:(?:jsession|phpsess|s)id=[0-9a-z]{32}|aspsessionid[a-z]{8}=[a-z]{24}|cfid=[^&]+&cftoken=[^&]+)(?:&|$)"
)


def surt_key(canonical: str) -> str:
    """The index key of a canonical URL (`data_prep.urls`), ASCII."""
    match = _URL.match(canonical)
    if match is None:
        raise ValueError(f"not a canonical URL: {canonical!r}")
    host, colon, port = match[1].partition(":") if not match[1].startswith("[") else (match[1], "", "")
    www = _WWW.match(host)
    host = ",".join(reversed(host[www.end() if www else 0 :].split(".")))
    path = _PATH_SESSION.sub(b"", _plain(_SLASHES.sub(b"/", _unescaped(match[2] or "/"))))
    if len(path) > 1:
        path = path.removesuffix(b"/")
    query = _QUERY_SESSION.sub(b"", _plain(_unescaped(match[3] or ""))).removesuffix(b"&")
    if query:
        # A name without a value comes before the same name with one.
        pairs = sorted(part.partition(b"=") for part in query.split(b"&"))
        query = b"?" + b"&".join(b"".join(pair) for pair in pairs)
    return f"{host}{colon}{port}){(path + query).decode('ascii')}"


def _unescaped(text: str) -> bytes:
    """All percent-encoding undone, however often it was applied."""
    data = text.encode()
    while (once := unquote_to_bytes(data)) != data:
        data = once
    return data


def _plain(data: bytes) -> bytes:
    """What is not printable ASCII percent-encoded, everything in lower case."""
    return _NOT_PLAIN.sub(lambda match: b"%%%02x" % match[0][0], data).lower()
