from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from some_texts import document

from data_prep.filters.wikipedia import WikipediaSettings, wikipedia, wikipedia_overlap
from data_prep.ngrams import ngram_hashes
from data_prep.wikipedia_sample import WikipediaSample

DEFAULT = WikipediaSettings().expanded()


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
def test_by_domain(url: str, reason: str | None) -> None:
    drop = wikipedia(document(url=url), DEFAULT)
    assert (drop.reason if drop else None) == reason


def test_mirrors_are_a_list() -> None:
    mirror = document(url="https://wikiwand.com/en/A")
    assert wikipedia(mirror, WikipediaSettings(mirrors=()).expanded()) is None
    own = wikipedia(
        document(url="https://en.my-mirror.org/A"), WikipediaSettings(mirrors=("my-mirror.org",)).expanded()
    )
    assert own is not None
    assert (own.reason, own.detail) == ("wikipedia-mirror", "my-mirror.org")


def test_by_text(tmp_path: Path) -> None:
    article = " ".join(f"word{i}" for i in range(200))
    path = tmp_path / "ngrams.bin"
    path.write_bytes(np.unique(ngram_hashes(article, 8, "alphanumeric")).tobytes())
    sample = WikipediaSample(str(path))
    copied = document(article.upper().replace(" ", ", "))  # case and punctuation do not count
    drop = wikipedia_overlap(copied, DEFAULT, sample)
    assert drop is not None
    assert (drop.reason, drop.score) == ("wikipedia-overlap", 1.0)
    mine = " ".join(f"own{i}" for i in range(300))
    for text in (mine, f"{article[:300]} {mine}", "word1 word2"):
        assert wikipedia_overlap(document(text), DEFAULT, sample) is None
    quoted = document(f"{article} {mine}")
    found = wikipedia_overlap(quoted, DEFAULT, sample)
    assert found is not None
    assert found.score == pytest.approx(193 / 493)  # 193 of 200 + 300 - 7 n-grams
    assert wikipedia_overlap(quoted, WikipediaSettings(max_overlap=0.5).expanded(), sample) is None
