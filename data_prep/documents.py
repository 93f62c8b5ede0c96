"""The document: one Arrow schema from extraction to the tokenizer, stored as Parquet (zstd)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import store
from data_prep.errors import CorruptFile

READ_ROWS = 256
"""Rows decoded at a time, which bounds the memory of a reader."""

DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("score", pa.int64()),
        pa.field("created_utc", pa.int64()),
        pa.field("language", pa.string()),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)
"""`id`: 32 hex digits, hash of the canonical URL; `url`: canonical; `source`: name of the corpus; `score`: karma;
`created_utc`: seconds since 1970 of the first submission; `language`: ISO 639-1 code, null before the language
filter; `metadata`: a JSON object (title, content type and whatever else a stage learns)."""

REMOVED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""The removal log: what was left out, by which stage, why, with which score; `detail` names for example the
document that was kept instead."""


class Document(TypedDict):
    """One row of `DOCUMENT`."""

    id: str
    url: str
    text: str
    source: str
    score: int | None
    created_utc: int | None
    language: str | None
    metadata: str


def read_rows(path: str, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Rows of a Parquet file as dictionaries, a few hundred in memory at a time.

    Raises:
        CorruptFile: the file is cut short or not Parquet.
    """
    with store.open_read(path) as handle:
        try:
            parquet = pq.ParquetFile(handle)
            for batch in parquet.iter_batches(batch_size=READ_ROWS, columns=list(columns) if columns else None):
                yield from batch.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptFile(
                f"cannot be read as Parquet ({error})", where=path, fix="delete it and run its stage again"
            ) from None
