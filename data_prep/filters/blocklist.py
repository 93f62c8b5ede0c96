"""Removes documents by address: blocked domains and subreddits.

The same lists can stand in the section `links`, which is cheaper: what they name is then never fetched or extracted.
Here they can change without either being done again.
"""

from __future__ import annotations

from functools import cached_property

import orjson

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.lists import blocked_by, load_domains, load_list
from data_prep.urls import host_of


class BlocklistSettings(Settings):
    """Lists as `data_prep.lists` reads them.

    Attributes:
        domains: a domain stands for its subdomains too.
        subreddits: names without `r/`, of the first submission of a link.
    """

    domains: tuple[str, ...] = ()
    subreddits: tuple[str, ...] = ()

    @cached_property
    def _domains(self) -> frozenset[str]:
        return frozenset(self.domains)

    @cached_property
    def _subreddits(self) -> frozenset[str]:
        return frozenset(self.subreddits)

    def expanded(self) -> BlocklistSettings:
        """With what the lists say in place of their names.

        Raises:
            UserError: see `load_list`.
        """
        return BlocklistSettings(domains=load_domains(self.domains), subreddits=load_list(self.subreddits))


def blocklist(document: Document, settings: BlocklistSettings) -> Drop | None:
    """Drop a document of a blocked domain or subreddit; `settings` must be expanded."""
    found = blocked_by(host_of(document["url"]), settings._domains)
    if found is not None:
        return Drop("blocked-domain", detail=found)
    if settings._subreddits:
        subreddit = str(orjson.loads(document["metadata"]).get("subreddit") or "").lower()
        if subreddit in settings._subreddits:
            return Drop("blocked-subreddit", detail=subreddit)
    return None
