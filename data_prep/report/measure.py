"""Measures the documents of a stage in one pass over their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep import keyed, store
from data_prep.documents import READ_ROWS
from data_prep.errors import CorruptFile
from data_prep.excerpt import excerpt
from data_prep.manifest import FileRef
from data_prep.report.sketches import FrequentItems, KeyedSample, LogHistogram
from data_prep.urls import host_of, registered_domain

_COLUMNS = ("id", "url", "text", "score", "created_utc", "language")
_SHOWN = ("url", "score", "created_utc", "language")
SAMPLES = 8
_EXCERPT = 700


@dataclass(frozen=True)
class SampleDocument:
    """A document as the page shows it: `text` is the beginning, `characters` and `words` count all of it."""

    url: str
    score: int | None
    created_utc: int | None
    language: str | None
    characters: int
    words: int
    text: str


@dataclass
class Measures:
    """What one pass over the documents found.

    Attributes:
        documents: how many.
        text_bytes: UTF-8 bytes of text.
        characters: of each document.
        words: of each document, divided by white space.
        karma: of each document that has a score.
        karma_steps: documents by score: below 1, 1, 2, 3, then doubling (4-7 as 4, 8-15 as 8 ...).
        months: documents by month of the first submission, numbered 12 * year + month - 1.
        languages: documents by language; "" if none was detected.
        domains: documents by label of the registered domain ("bbc" of news.bbc.co.uk).
        sample: documents by a keyed draw.
    """

    documents: int = 0
    text_bytes: int = 0
    characters: LogHistogram = field(default_factory=LogHistogram)
    words: LogHistogram = field(default_factory=LogHistogram)
    karma: LogHistogram = field(default_factory=LogHistogram)
    karma_steps: Counter[int] = field(default_factory=Counter)
    months: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    domains: FrequentItems = field(default_factory=FrequentItems)
    sample: KeyedSample = field(default_factory=lambda: KeyedSample(SAMPLES))

    def add(self, batch: pa.RecordBatch, seed: int) -> None:
        """Take in a batch with the columns of a document."""
        texts: list[str] = batch.column("text").to_pylist()
        words = np.array([len(text.split()) for text in texts], np.int64)
        characters = np.array([len(text) for text in texts], np.int64)
        self.documents += len(texts)
        self.text_bytes += pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
        self.characters.add(characters)
        self.words.add(words)
        scores = _whole(batch.column("score"))
        self.karma.add(scores)
        self.karma_steps.update(_counted(karma_step(scores)))
        seconds = _whole(batch.column("created_utc"))
        months = seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) + 12 * 1970
        self.months.update(_counted(months))
        for item in batch.column("language").value_counts().to_pylist():
            self.languages[item["values"] or ""] += item["counts"]
        self.domains.add(Counter(domain_label(url) for url in batch.column("url").to_pylist()))
        for row, id in enumerate(batch.column("id").to_pylist()):
            key = keyed.key(seed, "report", id)
            if self.sample.wants(key):
                url, score, created, language = (batch.column(name)[row].as_py() for name in _SHOWN)
                text = excerpt(texts[row], _EXCERPT)
                self.sample.add(
                    key, SampleDocument(url, score, created, language, len(texts[row]), int(words[row]), text)
                )


def measure(refs: Sequence[FileRef], on_documents: Callable[[int], Any], seed: int = 0) -> Measures:
    """Measure files of documents, one after the other.

    Memory: a few hundred documents, 130,000 domains and a few thousand counters, whatever the size of the corpus.

    Args:
        refs: the files.
        on_documents: told how many documents were seen so far.
        seed: of the sample.

    Raises:
        CorruptFile: a file cannot be read.
    """
    found = Measures()
    for ref in refs:
        try:
            with store.open_read(ref.path) as handle:
                parquet = pq.ParquetFile(handle)
                for batch in parquet.iter_batches(batch_size=READ_ROWS, columns=list(_COLUMNS)):
                    found.add(batch, seed)
                    on_documents(found.documents)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptFile(
                f"cannot be read as Parquet ({error})", where=ref.path, fix="delete it and run its stage again"
            ) from None
    return found


def domain_label(url: str) -> str:
    """What OpenAI's list calls a domain: the registered domain without its public suffix; an address as it is."""
    domain = registered_domain(host_of(url))
    return domain if domain.startswith("[") or domain.replace(".", "").isdigit() else domain.partition(".")[0]


def karma_step(scores: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[n] lower edge of the step of each score: 0 (below 1), 1, 2, 3, 4 (4-7), 8 (8-15) ..."""
    doubled = 2 ** np.floor(np.log2(np.maximum(scores, 4))).astype(np.int64)
    return np.where(scores < 4, np.maximum(scores, 0), doubled)


def _whole(column: pa.Array) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = column.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    return values


def _counted(values: npt.NDArray[np.int64]) -> dict[int, int]:
    kinds, counts = np.unique(values, return_counts=True)
    return dict(zip(kinds.tolist(), counts.tolist(), strict=True))
