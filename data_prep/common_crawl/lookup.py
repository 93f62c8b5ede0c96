"""Which capture of the indexes a link gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from data_prep.common_crawl.capture import TEXT_TYPES, Capture
from data_prep.common_crawl.index import Index
from data_prep.common_crawl.surt import surt_key
from data_prep.page_links.redirects import MAX_HOPS
from data_prep.urls import canonical_url

_HTML = frozenset({"text/html", "application/xhtml+xml"})


@dataclass
class Search:
    """The search for one link.

    Attributes:
        link: row of `KEY`.
        url: canonical URL that is looked for now: the link's, or where it redirects.
        chain: captures to fetch: redirects in order, last the page.
        found: whether the last of them is the page.
        missed: what was found instead of a page: (reason, detail).
    """

    link: Mapping[str, Any]
    url: str
    chain: list[Capture] = field(default_factory=list)
    found: bool = False
    missed: tuple[str, str] = ("not-in-index", "")


def look_up(links: Iterable[Mapping[str, Any]], indexes: Sequence[Index], before: int | None) -> list[Search]:
    """Search for links, following redirects that the index names.

    Of the captures of a URL counts one with status 200 and a text type, HTML rather than other types, then the nearest
    in time to the submission. A URL without such, but with a redirect, is followed, at most `MAX_HOPS` times.

    Args:
        links: rows of `KEY`.
        indexes: searched all, in order; the order decides between captures that are otherwise equal.
        before: only captures before this time (seconds since 1970); None: of any.
    """
    searches = [Search(link, link["url"]) for link in links]
    going = searches
    for _ in range(MAX_HOPS + 1):
        by_url: dict[str, list[Search]] = {}
        for search in going:
            by_url.setdefault(search.url, []).append(search)
        best = _best(by_url, indexes, before)
        going = [search for search in going if _settle(search, best.get(id(search)))]
        if not going:
            break
    return searches


@dataclass
class _Best:
    """What the index has for one search, best first in each kind, with its rank (smaller is better)."""

    page: tuple[tuple[Any, ...], Capture] | None = None
    redirect: tuple[tuple[Any, ...], Capture] | None = None
    other: tuple[str, str] | None = None


def _best(by_url: Mapping[str, list[Search]], indexes: Sequence[Index], before: int | None) -> dict[int, _Best]:
    keys = sorted({surt_key(url) for url in by_url}, key=str.encode)
    best: dict[int, _Best] = {}
    for number, index in enumerate(indexes):
        for capture in index.captures(keys):
            if before is not None and capture.seconds >= before:
                continue
            # A key is shared by pages that differ.
            for search in by_url.get(canonical_url(capture.url) or "", ()):
                _consider(best.setdefault(id(search), _Best()), search, capture, number)
    return best


def _consider(best: _Best, search: Search, capture: Capture, number: int) -> None:
    distance = abs(capture.seconds - search.link["created_utc"])
    rank = (capture.mime not in _HTML, distance, capture.seconds, number, capture.filename, capture.offset)
    if capture.status == 200 and capture.mime in TEXT_TYPES:
        best.page = min(best.page or (rank, capture), (rank, capture), key=lambda ranked: ranked[0])
    elif _target(capture) not in (None, search.url):
        best.redirect = min(best.redirect or (rank, capture), (rank, capture), key=lambda ranked: ranked[0])
    elif capture.status == 200:
        best.other = best.other or ("not-text", capture.mime)
    elif not 300 <= capture.status < 400:
        best.other = best.other or ("not-200", str(capture.status))


def _settle(search: Search, best: _Best | None) -> bool:
    """Note what was found; whether the search goes on."""
    if best is None:
        if search.chain:
            search.missed = ("not-in-index", f"redirects to {search.url}")
    elif best.page is not None:
        search.chain.append(best.page[1])
        search.found = True
    elif best.redirect is not None:
        target = _target(best.redirect[1])
        passed = {search.url, *(canonical_url(capture.url) for capture in search.chain)}
        if target is not None and target not in passed:
            search.chain.append(best.redirect[1])
            search.url = target
            search.missed = ("not-in-index", f"redirects to {search.url}")
            return True
        search.missed = ("redirect-loop", best.redirect[1].redirect)
    elif best.other is not None:
        search.missed = best.other
    return False


def _target(capture: Capture) -> str | None:
    """Canonical URL to which a capture redirects."""
    if not (300 <= capture.status < 400 and capture.redirect):
        return None
    try:
        return canonical_url(urljoin(capture.url, capture.redirect))
    except ValueError:
        return None
