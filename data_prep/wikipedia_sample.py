"""The n-grams of a sample of Wikipedia: a stage makes them once, the filter looks documents up in them.

The sample is Parquet (column `text`), JSON lines (field `text`) or plain text, the latter two also compressed, for
example articles that a user took from a dump of Wikipedia. Its n-grams, in GPT-2's normal form (section 4), are
kept as sorted 64-bit hashes.
"""

from __future__ import annotations

import mmap
import posixpath
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import store
from data_prep.configfile import Settings
from data_prep.documents import READ_ROWS
from data_prep.dumps import DumpReader
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef, Totals
from data_prep.ngrams import ngram_hashes
from data_prep.stage import Stage, Task, TaskOutput

NGRAMS = "ngrams.bin"
_PIECE = 1 << 20
"""Characters of plain text that are taken together; an n-gram over the border of two pieces is lost."""
_PENDING = 1 << 24
"""Hashes collected before they are sorted into the rest."""


class WikipediaSampleSettings(Settings):
    """`ngram`: words in an n-gram."""

    ngram: int


class WikipediaSample:
    """The distinct n-grams of a sample, for look-up.

    A local file is mapped into memory: all workers of a machine share one copy, 8 bytes for each distinct n-gram
    (about 8 bytes a word of the sample).

    Args:
        path: `ngrams.bin` of the stage.
    """

    def __init__(self, path: str) -> None:
        self._hashes: npt.NDArray[np.uint64]
        if store.size(path) == 0:
            self._hashes = np.empty(0, np.uint64)
        elif store.is_local(path):
            with store.open_read(path) as handle:
                mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            self._hashes = np.frombuffer(mapped, np.uint64)
        else:
            self._hashes = np.frombuffer(store.read_bytes(path), np.uint64)

    def share(self, text: str, ngram: int) -> float:
        """Share of the distinct n-grams of a text that stand in the sample; 0 for a text of fewer words than that."""
        mine = np.unique(ngram_hashes(text, ngram, "alphanumeric"))
        if not len(mine) or not len(self._hashes):
            return 0.0
        at = np.searchsorted(self._hashes, mine)
        found = self._hashes[np.minimum(at, len(self._hashes) - 1)] == mine
        return float(found.mean())


class WikipediaSampleStage(Stage):
    """Files of a sample -> `ngrams.bin`, sorted distinct hashes as little-endian uint64, in one task.

    Memory: 16 bytes for each distinct n-gram of the sample, some 20 for each character of its longest document.
    """

    name = "wikipedia-sample"
    settings: WikipediaSampleSettings

    def plan(self) -> list[Task]:
        """One task."""
        return [Task(0, {"wikipedia": self.inputs["wikipedia"]}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Hash the n-grams of all files.

        Raises:
            UserError: a file holds no text where it should.
            CorruptFile: a file is cut short or damaged.
        """
        merged = np.empty(0, np.uint64)
        pending: list[npt.NDArray[np.uint64]] = []
        waiting = 0
        files = task.inputs["wikipedia"]
        for number, ref in enumerate(files):
            for text in texts(ref):
                out.rows_in += 1
                hashes = np.unique(ngram_hashes(text, self.settings.ngram, "alphanumeric"))
                pending.append(hashes)
                waiting += len(hashes)
                if waiting > _PENDING:
                    merged, pending, waiting = np.unique(np.concatenate([merged, *pending])), [], 0
            out.advance(number + 1, len(files), "files")
        merged = np.unique(np.concatenate([merged, *pending]))
        out.file(NGRAMS).write(merged.astype("<u8").tobytes())
        out.rows_out = len(merged)

    def finish(self, outputs: Any, totals: Totals) -> dict[str, Any]:
        """How large the sample is."""
        return {"documents": totals.rows_in, "ngrams": totals.rows_out}


def texts(ref: FileRef) -> Iterator[str]:
    """The documents of one file of the sample; of plain text, pieces of about 1 Mi characters.

    Raises:
        UserError: the file does not hold texts.
        CorruptFile: it is cut short or damaged.
    """
    stem, ending = posixpath.splitext(ref.path)
    if ending in (".zst", ".xz", ".bz2", ".gz"):
        ending = posixpath.splitext(stem)[1]
    if ending == ".parquet":
        yield from _parquet_texts(ref.path)
    elif ending in (".jsonl", ".ndjson", ".json"):
        yield from _json_texts(ref.path)
    else:
        yield from _plain_texts(ref.path)


def _parquet_texts(path: str) -> Iterator[str]:
    try:
        with store.open_read(path) as handle:
            parquet = pq.ParquetFile(handle)
            if "text" not in parquet.schema_arrow.names:
                raise UserError("has no column `text`", where=path, fix="give documents of Wikipedia")
            for batch in parquet.iter_batches(batch_size=READ_ROWS, columns=["text"]):
                yield from (text for text in batch.column(0).to_pylist() if text)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"cannot be read as Parquet ({error})", where=path, fix="make the file again") from None


def _json_texts(path: str) -> Iterator[str]:
    with DumpReader(path) as dump:
        for number, line in enumerate(dump, 1):
            try:
                text = orjson.loads(line)["text"]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise UserError(
                    "is not a JSON object with a field `text`",
                    where=f"{path}, line {number:,}",
                    fix="give one document a line",
                )
            yield text


def _plain_texts(path: str) -> Iterator[str]:
    piece: list[str] = []
    size = 0
    with DumpReader(path) as dump:
        for line in dump:
            try:
                piece.append(line.decode())
            except UnicodeDecodeError:
                raise UserError("is not UTF-8 text", where=path, fix="give text, JSON lines or Parquet") from None
            size += len(line)
            if size >= _PIECE:
                yield "\n".join(piece)
                piece, size = [], 0
    if piece:
        yield "\n".join(piece)
