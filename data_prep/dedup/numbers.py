"""Documents as numbers: file * 2^32 + row, so that sorted numbers go through the files in order.

The files of other corpora, against which a corpus is compared, count from 2^30 on: their documents come last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import store
from data_prep.dedup.shingles import Numbers, Texts
from data_prep.manifest import FileRef
from data_prep.parquet import unreadable

OTHER_CORPORA = 1 << 30
"""The first file number of other corpora."""
FILE_SHIFT = 32


def files(numbers: Numbers) -> Numbers:
    """[n] file of each document."""
    found: Numbers = numbers >> FILE_SHIFT
    return found


def of_members(members: pa.Table) -> Numbers:
    """[n] numbers of the documents of a table with `file` and `row`."""
    file, row = members.column("file").to_numpy(), members.column("row").to_numpy()
    found: Numbers = (file.astype(np.int64) << FILE_SHIFT) + row
    return found


def texts(
    wanted: Numbers, documents: Sequence[FileRef], others: Sequence[FileRef] = ()
) -> Iterator[tuple[Numbers, Texts]]:
    """Texts of documents, a group of rows of a file at a time; groups in which none is wanted are not read.

    Args:
        wanted: sorted numbers, each once.
        documents: the corpus's files in order.
        others: those of other corpora.

    Yields:
        Numbers in order, and their texts.

    Raises:
        CorruptFile: a file is cut short or not Parquet.
    """
    for file in np.unique(files(wanted)).tolist():
        ref = others[file - OTHER_CORPORA] if file >= OTHER_CORPORA else documents[file]
        first = file << FILE_SHIFT
        rows = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + (1 << FILE_SHIFT))] - first
        for at, group in _row_groups(ref.path, rows):
            yield first + at, Texts.of(group)


def _row_groups(path: str, rows: Numbers) -> Iterable[tuple[Numbers, pa.ChunkedArray]]:
    with store.open_read(path) as handle:
        with unreadable(path):
            parquet = pq.ParquetFile(handle)
        start = 0
        for group in range(parquet.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            mine = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)]
            if len(mine):
                with unreadable(path):
                    table = parquet.read_row_group(group, columns=["text"])
                yield mine, table.column("text").take(mine - start)
            start = end
