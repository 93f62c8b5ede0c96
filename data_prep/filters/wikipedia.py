"""Removes Wikipedia pages. GPT-2 2.1 removed all Wikipedia documents, because its text stands in test sets.

The paper does not say how. Here: by domain; with sites that republish its articles; and, if a sample of Wikipedia is
given (`inputs.wikipedia`), by shared text, which finds copies on any site. See `data_prep.wikipedia_sample`.
"""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.lists import blocked_by, load_domains
from data_prep.urls import host_of
from data_prep.wikipedia_sample import WikipediaSample

WIKIPEDIA = frozenset({"wikipedia.org", "wikipedia.com"})


class WikipediaSettings(Settings):
    """Attributes:
    mirrors: domains of sites that republish Wikipedia, a list as `data_prep.lists` reads it.
    max_overlap: greatest share of a document's n-grams that may stand in the sample of Wikipedia. 0.2: ours; of 86
        articles that another extractor had read 84 shared more with the sample, of 5,017 other pages none over 0.02.
    ngram: words in an n-gram. 8 as in GPT-2's overlap analysis (section 4).
    """

    mirrors: tuple[str, ...] = ("list:wikipedia-mirrors",)
    max_overlap: float = Field(default=0.2, ge=0, le=1)
    ngram: int = Field(default=8, gt=0, le=64)

    @cached_property
    def _mirrors(self) -> frozenset[str]:
        return frozenset(self.mirrors)

    def expanded(self) -> WikipediaSettings:
        """With what the list says in place of its name.

        Raises:
            UserError: see `load_list`.
        """
        return self.model_copy(update={"mirrors": load_domains(self.mirrors)})


def wikipedia(document: Document, settings: WikipediaSettings) -> Drop | None:
    """Drop a page of Wikipedia in any language, or of a mirror; `settings` must be expanded."""
    host = host_of(document["url"])
    if (domain := blocked_by(host, WIKIPEDIA)) is not None:
        return Drop("wikipedia", detail=domain)
    if (domain := blocked_by(host, settings._mirrors)) is not None:
        return Drop("wikipedia-mirror", detail=domain)
    return None


def wikipedia_overlap(document: Document, settings: WikipediaSettings, sample: WikipediaSample) -> Drop | None:
    """Drop a document that shares more of its n-grams with the sample than allowed; the score is the share."""
    share = sample.share(document["text"], settings.ngram)
    return Drop("wikipedia-overlap", score=share) if share > settings.max_overlap else None
