"""Title, date and author of a page as the page itself states them, in any language.

Read from what is made to be read: <title>, <meta>, JSON-LD, microdata, <time>. Nothing is guessed from the text.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

_MAX_JSON = 200_000
_MAX_NODES = 2_000
_MAX_NAME = 200
_FIRST_YEAR = 1990

# In the order of trust. article: is Open Graph's, dc: and dcterms: Dublin Core's, the others are of common publishers'
# systems; names are compared in lower case.
_DATES = (
    "article:published_time",
    "og:article:published_time",
    "datepublished",
    "dc.date.issued",
    "dcterms.issued",
    "dcterms.created",
    "dc.date",
    "dcterms.date",
    "citation_publication_date",
    "citation_date",
    "parsely-pub-date",
    "sailthru.date",
    "pubdate",
    "publishdate",
    "publish-date",
    "publish_date",
    "publication_date",
    "date",
)
_AUTHORS = (
    "author",
    "article:author",
    "og:article:author",
    "dc.creator",
    "dcterms.creator",
    "citation_author",
    "parsely-author",
    "sailthru.author",
    "byl",
)
_WANTED = frozenset(_DATES + _AUTHORS)
_DAY = re.compile(r"(?<!\d)(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?!\d)")


@dataclass(frozen=True)
class Metadata:
    """What a page says of itself; "" where it says nothing.

    Attributes:
        title: content of <title>.
        date: day of publication, YYYY-MM-DD, as written on the page (no change of time zone).
        author: names, joined by "; ".
    """

    title: str
    date: str
    author: str


def read_metadata(root: Any) -> Metadata:
    """Title, date and author of an lxml tree."""
    title = next((_plain("".join(element.itertext())) for element in root.iter("title")), "")
    named: dict[str, list[str]] = {}
    for meta in root.iter("meta"):
        name = (meta.get("property") or meta.get("name") or meta.get("itemprop") or "").lower()
        if name in _WANTED and (content := meta.get("content")):
            named.setdefault(name, []).append(content)
    date = next((day for name in _DATES for text in named.get(name, ()) if (day := _day(text))), "")
    names = next((found for name in _AUTHORS if (found := _names(named.get(name, ())))), [])
    if not date or not names:
        for item in _linked_data(root):
            date = date or _day(item.get("datePublished"))
            names = names or _names(_people(item.get("author")))
            if date and names:
                break
    if not date:
        date = next((day for element in root.iter("time") if (day := _day(element.get("datetime")))), "")
    if not names:
        names = _names("".join(element.itertext()) for element in root.iter("a", "span") if _signs(element))[:1]
    return Metadata(title, date, "; ".join(dict.fromkeys(names)))


def _signs(element: Any) -> bool:
    """Whether an element names the author of its page: HTML 4.6.7 (rel), microdata, microformats."""
    return (
        element.get("rel") == "author"
        or element.get("itemprop") == "author"
        or "p-author" in (element.get("class") or "").split()
    )


def _plain(text: str) -> str:
    return " ".join(text.split())


def _day(text: object) -> str:
    """The day of a date in ISO 8601 or RFC 5322 form; "" if it is none, or of before the web or the future."""
    if not isinstance(text, str):
        return ""
    match = _DAY.search(text[:64])
    try:
        if match:
            day = datetime.date(int(match[1]), int(match[2]), int(match[3]))
        else:
            day = parsedate_to_datetime(text[:64]).date()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
    return day.isoformat() if _FIRST_YEAR <= day.year <= 2100 else ""


def _names(texts: Any) -> list[str]:
    """Those of some texts that are names and not addresses of profiles."""
    plain = [_plain(text) for text in texts if isinstance(text, str)]
    return [name for name in plain if name and len(name) <= _MAX_NAME and "://" not in name]


def _people(author: object) -> list[object]:
    """Names in the `author` of schema.org: a text, a Person or Organization, or a list of such."""
    people = author if isinstance(author, list) else [author]
    return [person.get("name") if isinstance(person, dict) else person for person in people]


def _linked_data(root: Any) -> Iterator[dict[str, Any]]:
    """The objects of a page's JSON-LD, outer ones first."""
    for script in root.iter("script"):
        text = script.text
        if script.get("type") != "application/ld+json" or not text or len(text) > _MAX_JSON:
            continue
        try:
            waiting = [orjson.loads(text)]
        except orjson.JSONDecodeError:
            continue
        for _ in range(_MAX_NODES):
            if not waiting:
                break
            node = waiting.pop(0)
            if isinstance(node, dict):
                yield node
                waiting += [value for value in node.values() if isinstance(value, (dict, list))]
            elif isinstance(node, list):
                waiting += node[:_MAX_NODES]
