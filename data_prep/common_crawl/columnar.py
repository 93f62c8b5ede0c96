"""Common Crawl's columnar index: Parquet tables sorted, more or less, by `url_surtkey`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs

from data_prep import store
from data_prep.common_crawl.capture import Capture, capture
from data_prep.errors import CorruptFile, UserError

_COLUMNS = {
    "key": "url_surtkey",
    "url": "url",
    "time": "fetch_time",
    "status": "fetch_status",
    "mime": "content_mime_type",
    "detected": "content_mime_detected",
    "filename": "warc_filename",
    "offset": "warc_record_offset",
    "length": "warc_record_length",
    "redirect": "fetch_redirect",
}
_OPTIONAL = {"detected", "redirect", "mime"}
_KEYS_AT_A_TIME = 2048


class ColumnarIndex:
    """Parquet files of one schema; only row groups whose range of keys holds a wanted one are read.

    Args:
        paths: the files, on one file system.
        damaged: told of a row that cannot be read.
    """

    def __init__(self, paths: Sequence[str], damaged: Callable[[str], None]) -> None:
        self._paths, self._damaged = list(paths), damaged
        try:
            located = [store.filesystem(path) for path in self._paths]
            handler = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(located[0][0]))
            self._table = ds.dataset([inner for _, inner in located], filesystem=handler, format="parquet")
        except FileNotFoundError:
            raise UserError("no such file", where=self._paths[0], fix="check common_crawl.index") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise self._corrupt(error) from None
        known = set(self._table.schema.names)
        missing = [column for name, column in _COLUMNS.items() if name not in _OPTIONAL and column not in known]
        if missing:
            raise UserError(
                f"has no column {missing[0]}", where=self._paths[0], fix="give Common Crawl's columnar index (cc-index)"
            )
        self._columns = {name: ds.field(column) for name, column in _COLUMNS.items() if column in known}

    def captures(self, keys: Sequence[str]) -> Iterator[Capture]:
        """All captures of some keys, which are sorted and differ."""
        key = ds.field(_COLUMNS["key"])
        for start in range(0, len(keys), _KEYS_AT_A_TIME):
            some = keys[start : start + _KEYS_AT_A_TIME]
            wanted = (key >= some[0]) & (key <= some[-1]) & key.isin(pa.array(some, pa.string()))
            batches = self._table.to_batches(columns=self._columns, filter=wanted, use_threads=False, batch_readahead=1)
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowInvalid, OSError) as error:
                    raise self._corrupt(error) from None
                if batch is None:
                    break
                yield from self._rows(batch)

    def _rows(self, batch: pa.RecordBatch) -> Iterator[Capture]:
        at = batch.schema.get_field_index("time")
        seconds = pc.divide(pc.cast(pc.cast(batch["time"], pa.timestamp("ms")), pa.int64()), 1000)
        for row in batch.set_column(at, "time", seconds).to_pylist():
            try:
                yield capture(
                    key=row["key"],
                    url=row["url"],
                    seconds=int(row["time"]),
                    status=row["status"],
                    mime=row.get("detected") or row.get("mime"),
                    filename=row["filename"],
                    offset=row["offset"],
                    length=row["length"],
                    redirect=row.get("redirect"),
                )
            except (TypeError, ValueError):
                self._damaged(str(row)[:200])

    def _corrupt(self, error: Exception) -> CorruptFile:
        where = self._paths[0] if len(self._paths) == 1 else f"{self._paths[0]} or one of {len(self._paths)} files"
        return CorruptFile(f"cannot be read as Parquet ({error})", where=where, fix="fetch the index again")
