"""Removes Wikipedia pages. GPT-2 2.1 removed all Wikipedia documents, because its text stands in test sets.

The paper does not say how. Here: by registered domain, with sites that republish its articles (list: ours, not
complete).
"""

from __future__ import annotations

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.urls import host_of, registered_domain

WIKIPEDIA = frozenset({"wikipedia.org", "wikipedia.com"})
MIRRORS = frozenset(
    {
        "dbpedia.org",
        "everipedia.org",
        "infogalactic.com",
        "thereaderwiki.com",
        "wiki2.org",
        "wikiless.org",
        "wikimili.com",
        "wikivisually.com",
        "wikivividly.com",
        "wikiwand.com",
        "wikizero.com",
        "wikizero.org",
    }
)


class WikipediaSettings(Settings):
    """Attributes:
    remove: whether Wikipedia pages are removed.
    mirrors: whether pages of its mirrors are removed too.
    """

    remove: bool = True
    mirrors: bool = True


def wikipedia(document: Document, settings: WikipediaSettings) -> Drop | None:
    """Drop a page of Wikipedia in any language, or of a mirror."""
    domain = registered_domain(host_of(document["url"]))
    if settings.remove and domain in WIKIPEDIA:
        return Drop("wikipedia", detail=domain)
    if settings.remove and settings.mirrors and domain in MIRRORS:
        return Drop("wikipedia-mirror", detail=domain)
    return None
