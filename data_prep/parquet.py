"""Reading of Parquet files that stages wrote: damage is one clear line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import store
from data_prep.errors import CorruptFile


@contextmanager
def unreadable(path: str) -> Iterator[None]:
    """Turn what a damaged file makes pyarrow raise into a `CorruptFile`."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(
            f"cannot be read as Parquet ({error})", where=path, fix="delete it and run its stage again"
        ) from None


def read_batches(path: str, rows: int = 1 << 16, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """All rows of a file, at most `rows` at a time; with `columns`, only these.

    Raises:
        CorruptFile: the file is cut short or not Parquet.
    """
    with store.open_read(path) as handle:
        with unreadable(path):
            batches = pq.ParquetFile(handle).iter_batches(rows, columns=list(columns) if columns else None)
        while True:
            with unreadable(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch
