from __future__ import annotations

import pytest

from data_prep.documents import Document
from data_prep.wikipedia import WikipediaSettings, wikipedia


def document(url: str) -> Document:
    return {
        "id": "0",
        "url": url,
        "text": "x",
        "source": "s",
        "score": 3,
        "created_utc": 0,
        "language": None,
        "metadata": "{}",
    }


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://en.wikipedia.org/wiki/A", "wikipedia"),
        ("https://ko.m.wikipedia.org/wiki/A", "wikipedia"),
        ("https://wikipedia.org/", "wikipedia"),
        ("https://wikiwand.com/en/A", "wikipedia-mirror"),
        ("https://notwikipedia.org/", None),
        ("https://wikipedia.org.evil.com/", None),
        ("https://a.com/?from=en.wikipedia.org", None),
    ],
)
def test_by_registered_domain(url: str, reason: str | None) -> None:
    drop = wikipedia(document(url), WikipediaSettings())
    assert (drop.reason if drop else None) == reason


def test_settings() -> None:
    wiki, mirror = document("https://en.wikipedia.org/wiki/A"), document("https://wikiwand.com/en/A")
    assert wikipedia(wiki, WikipediaSettings(remove=False)) is None
    assert wikipedia(mirror, WikipediaSettings(remove=False)) is None
    assert wikipedia(mirror, WikipediaSettings(mirrors=False)) is None
    assert wikipedia(wiki, WikipediaSettings(mirrors=False)) is not None
