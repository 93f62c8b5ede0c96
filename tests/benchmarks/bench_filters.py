"""The rules of the filter stage on texts of real pages, beside datatrove's filters of the same papers.

datatrove splits words and sentences with spaCy, which this project does not install. Here its filters get our words and
sentences, which makes them much faster, so that what differs is the rules themselves.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from datatrove.data import Document as Peer
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from measure import Row, alternate

from data_prep.documents import Document
from data_prep.drop import Drop
from data_prep.extract import Extracted, ExtractSettings, page_function
from data_prep.filter import FilterSettings, rules
from data_prep.filters import text as shared
from data_prep.filters.c4 import sentences
from data_prep.warc import read_responses

EVERY = 20
"""One page of so many is extracted."""
REPEATS = 3
PEERS: dict[str, Callable[[], Any]] = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4": lambda: C4QualityFilter(min_num_sentences=3, min_words_per_line=5),
    "fineweb": lambda: FineWebQualityFilter(char_duplicates_ratio=0.1, new_line_ratio=1e9),
}
"""With the values of the papers where datatrove's differ."""


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    root = os.environ.get("WEBTEXT_DATA_ROOT")
    if not root or not Path(root, "e2e").is_dir():
        pytest.skip("WEBTEXT_DATA_ROOT is not set")
    extract = page_function(ExtractSettings())
    number = -1

    def some(uri: str) -> bool:
        nonlocal number
        number += 1
        return number % EVERY == 0

    found: list[Document] = []
    for page in read_responses(f"{root}/e2e/pages.warc.gz", 10 << 20, some):
        made = extract(page.body or b"", page.content_type, page.charset)
        if isinstance(made, Extracted):
            found.append(
                {
                    "id": f"{len(found):032x}",
                    "url": page.url,
                    "text": made.text,
                    "source": "e2e",
                    "score": 3,
                    "created_utc": 0,
                    "language": None,
                    "metadata": orjson.dumps({"title": made.title}).decode(),
                }
            )
    return found


def ours(name: str, documents: list[Document]) -> list[str | None]:
    """The reason to drop of each document, or None."""
    (rule, *_) = rules(FilterSettings.model_validate({name: {}}).expanded())
    reasons = []
    for document in documents:
        shared.lines.cache_clear()
        shared.words.cache_clear()
        said = rule(document.copy())
        reasons.append(said.reason if isinstance(said, Drop) else None)
    return reasons


def theirs(name: str, documents: list[Document]) -> list[str | None]:
    peer = PEERS[name]()
    reasons: list[str | None] = []
    for document in documents:
        said = peer.filter(Peer(text=document["text"], id=document["id"]))
        reasons.append(None if said is True else said[1])
    return reasons


@pytest.mark.benchmark
def test_filters(documents: list[Document], table: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, language: text.split())
    monkeypatch.setattr(c4_filters, "split_into_sentences", lambda line, language: [line] * sentences(line))
    megabytes = sum(len(document["text"].encode()) for document in documents) / 1e6
    for name in FilterSettings.model_fields:
        notes = f"processor time; {len(documents)} pages, {megabytes:.1f} MB of text"
        if name not in PEERS:
            (seconds,) = alternate(lambda name=name: ours(name, documents), repeats=REPEATS, clock=time.process_time)
            peer = ratio = ""
        else:
            seconds, peer_seconds = alternate(
                lambda name=name: ours(name, documents),
                lambda name=name: theirs(name, documents),
                repeats=REPEATS,
                clock=time.process_time,
            )
            mine, other = ours(name, documents), theirs(name, documents)
            same = sum((a is None) == (b is None) for a, b in zip(mine, other, strict=True))
            peer = f"datatrove {len(documents) / peer_seconds:,.0f} documents/s"
            ratio = f"{peer_seconds / seconds:.1f}x as fast"
            notes += f"; same verdict on {100 * same / len(documents):.1f} %"
            differ = Counter((a, b) for a, b in zip(mine, other, strict=True) if (a is None) != (b is None))
            print(name, "differs:", dict(differ.most_common(6)))
        table.append(
            Row(
                f"filter {name}",
                f"{len(documents) / seconds:,.0f} documents/s, {megabytes / seconds:,.0f} MB/s",
                peer,
                ratio,
                notes,
            )
        )
