"""Token shards: the one door between data preparation and training.

A dataset is a folder with `manifest.json`, `tokenizer.json` and, for each split, Arrow IPC shards (streaming format,
uncompressed, one record batch): one row a document with `tokens` (list<uint16|uint32>, ending in <|endoftext|>), `id`
and `n_tokens`. The child buffer of `tokens` is thus the packed token stream, read memory-mapped with zero copies; the
list offsets are the document boundaries. `datasets.Dataset.from_file` and `pyarrow.ipc.open_stream` open a shard as it
is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.progress import ProgressBar

FORMAT = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
SPLITS = ("train", "validation")
_HASHERS = min(8, os.cpu_count() or 1)

Tokens = npt.NDArray[np.unsignedinteger[Any]]


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """uint16 where every id fits, else uint32."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def write_shard(handle: IO[bytes], ids: Sequence[str], documents: Sequence[Tokens], dtype: np.dtype[Any]) -> int:
    """Write one shard and return its number of tokens.

    Args:
        handle: open binary file.
        ids: document ids.
        documents: token ids of each document, <|endoftext|> included.
        dtype: uint16 or uint32.
    """
    lengths = np.fromiter((len(d) for d in documents), dtype=np.int64, count=len(documents))
    total = int(lengths.sum())
    if total >= 1 << 31:
        raise ValueError(f"a shard holds fewer than 2^31 tokens, not {total}")
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    stream = np.concatenate(documents).astype(dtype, copy=False) if len(documents) else np.zeros(0, dtype)
    tokens = pa.ListArray.from_arrays(pa.array(offsets), pa.array(stream))
    batch = pa.record_batch(
        [tokens, pa.array(ids, pa.string()), pa.array(lengths.astype(np.int32))], names=["tokens", "id", "n_tokens"]
    )
    with pa.ipc.new_stream(handle, batch.schema) as writer:
        writer.write_batch(batch)
    return total


@dataclass(frozen=True)
class Shard:
    """One memory-mapped shard.

    Attributes:
        tokens: [n_tokens] uint16 or uint32, read-only view of the file.
        offsets: [n_documents + 1] int32, document i is tokens[offsets[i]:offsets[i + 1]].
        ids: document ids, an Arrow string array.
    """

    tokens: Tokens
    offsets: npt.NDArray[np.int32]
    ids: pa.StringArray

    @staticmethod
    def open(path: str) -> Shard:
        """Map a shard file.

        Raises:
            CorruptFile: not an Arrow IPC stream of one record batch with the columns of a shard.
        """
        try:
            source = pa.memory_map(path) if store.is_local(path) else pa.BufferReader(store.read_bytes(path))
            reader = pa.ipc.open_stream(source)
            batch = reader.read_next_batch()
            if next(reader, None) is not None:
                raise pa.ArrowInvalid("more than one record batch")
            column = batch.column("tokens")
            if not pa.types.is_list(column.type) or column.type.value_type not in (pa.uint16(), pa.uint32()):
                raise pa.ArrowInvalid(f"tokens are {column.type}")
            column.validate(full=True)  # offsets ascend and end inside the stream
            # `to_numpy` gives the same and imports pandas: a second on every rank.
            tokens: Any = np.from_dlpack(column.values)
            offsets: Any = np.from_dlpack(column.offsets)
            return Shard(tokens, offsets, batch.column("id"))
        except (pa.ArrowException, OSError, KeyError, StopIteration) as error:
            raise CorruptFile(
                f"not a token shard ({error})", where=path, fix="delete the file and run `data-prep run` again"
            ) from None


@dataclass(frozen=True)
class ShardInfo:
    """A shard as the manifest lists it; `path` is relative to the dataset's folder."""

    path: str
    sha256: str
    bytes: int
    documents: int
    tokens: int


@dataclass(frozen=True)
class SplitInfo:
    """A split as the manifest lists it.

    Attributes:
        shards: in reading order.
        text_bytes: UTF-8 bytes of the documents' text.
        words: whitespace-separated words of the documents' text.
    """

    shards: tuple[ShardInfo, ...]
    text_bytes: int
    words: int

    @property
    def documents(self) -> int:
        """Number of documents."""
        return sum(shard.documents for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Number of tokens, <|endoftext|> included."""
        return sum(shard.tokens for shard in self.shards)


@dataclass(frozen=True)
class DatasetManifest:
    """What a token dataset holds and where it came from.

    Attributes:
        name: name of the corpus.
        tokenizer_sha256: digest of the dataset's `tokenizer.json`.
        vocab_size: number of token ids.
        eot_id: id of <|endoftext|>.
        dtype: "uint16" or "uint32".
        splits: "train" and "validation".
        lineage: stage name -> digest of its manifest, for every stage from the raw input on.
    """

    name: str
    tokenizer_sha256: str
    vocab_size: int
    eot_id: int
    dtype: str
    splits: Mapping[str, SplitInfo]
    lineage: Mapping[str, str]

    @property
    def digest(self) -> str:
        """sha256 (hex) over the whole manifest: the fingerprint of the data."""
        return store.digest(asdict(self))

    def save(self, folder: str) -> None:
        """Write `manifest.json`."""
        store.write_json(store.join(folder, MANIFEST), {"format": FORMAT, "digest": self.digest, **asdict(self)})

    @staticmethod
    def load(folder: str) -> DatasetManifest:
        """Read and check `manifest.json`.

        Raises:
            UserError: the folder is no token dataset.
            CorruptFile: the manifest is damaged.
        """
        path = store.join(folder, MANIFEST)
        if not store.exists(path):
            raise UserError(
                f"no token dataset here ({MANIFEST} is missing)",
                where=folder,
                fix="make one with `data-prep run CONFIG`, or correct data.path",
            )
        data = store.read_json(path)
        try:
            if data.pop("format") != FORMAT:
                raise UserError("this dataset has another format version", where=path, fix="make it again")
            recorded = data.pop("digest")
            data["splits"] = {
                name: SplitInfo(
                    tuple(ShardInfo(**shard) for shard in split["shards"]), split["text_bytes"], split["words"]
                )
                for name, split in data["splits"].items()
            }
            manifest = DatasetManifest(**data)
        except (AttributeError, KeyError, TypeError) as error:
            raise CorruptFile(f"not a dataset manifest ({error!r})", where=path, fix="make the dataset again") from None
        if manifest.digest != recorded:
            raise CorruptFile("the content does not match its digest", where=path, fix="make the dataset again")
        return manifest

    def verify(self, folder: str) -> None:
        """Hash every shard and the tokenizer, some at a time; shows how far it is.

        Raises:
            CorruptFile: a file is missing, cut short or changed; one of them is named.
        """
        infos = [info for split in self.splits.values() for info in split.shards]
        found = dict.fromkeys((info.path for info in infos), 0)

        def check(info: ShardInfo) -> None:
            def on_read(length: int) -> None:
                found[info.path] += length

            _check_file(store.join(folder, info.path), info.sha256, info.bytes, on_read)

        with (
            ProgressBar(f"verify {self.name}", sum(info.bytes for info in infos), "bytes") as bar,
            ThreadPoolExecutor(_HASHERS) as pool,  # hashing and reading hold no lock of the interpreter
        ):
            waiting = {pool.submit(check, info): None for info in infos}
            try:
                while waiting:
                    done, _ = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                    bar.update(sum(found.values()))
                    for future in [future for future in waiting if future in done]:
                        future.result()
                        del waiting[future]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        self.check_tokenizer(store.join(folder, TOKENIZER))

    def check_tokenizer(self, path: str) -> None:
        """Raise `UserError` unless `path` is the very tokenizer that made these shards."""
        if not store.exists(path):
            raise UserError("the tokenizer is missing", where=path, fix="run the tokenizer and shards stages again")
        found = store.sha256_of(path)
        if found != self.tokenizer_sha256:
            raise UserError(
                f"this tokenizer (sha256 {found[:12]}...) did not make these shards "
                f"(sha256 {self.tokenizer_sha256[:12]}...)",
                where=path,
                fix="give the tokenizer.json of the dataset's own folder, or make the shards again",
            )


def _check_file(path: str, sha256: str, length: int, on_read: Callable[[int], None]) -> None:
    fix = "delete it and run `data-prep run` again, or copy the dataset anew"
    if not store.exists(path):
        raise CorruptFile("a shard of the manifest is missing", where=path, fix=fix)
    if store.size(path) != length:
        raise CorruptFile(
            f"the shard has {store.size(path):,} bytes, its manifest says {length:,}", where=path, fix=fix
        )
    if store.sha256_of(path, on_read) != sha256:
        raise CorruptFile("the shard's bytes do not match its manifest (sha256 differs)", where=path, fix=fix)


class TokenSplit:
    """The token stream of one split, memory-mapped; shards follow each other without a gap.

    Args:
        folder: the dataset's folder.
        manifest: its manifest.
        split: "train" or "validation".

    Raises:
        CorruptFile: a shard is missing, or does not hold what the manifest says.
    """

    def __init__(self, folder: str, manifest: DatasetManifest, split: str) -> None:
        if split not in manifest.splits:
            raise UserError(
                f"the dataset has no split {split!r}", where=folder, fix=f"choose of {list(manifest.splits)}"
            )
        infos = manifest.splits[split].shards
        self.shards = []
        for info in infos:
            path = store.join(folder, info.path)
            if not store.exists(path):
                raise CorruptFile("a shard of the manifest is missing", where=path, fix="copy the dataset anew")
            shard = Shard.open(path)
            if len(shard.tokens) != info.tokens or shard.tokens.dtype.name != manifest.dtype:
                raise CorruptFile(
                    f"the shard holds {len(shard.tokens):,} tokens of {shard.tokens.dtype.name}, "
                    f"its manifest says {info.tokens:,} of {manifest.dtype}",
                    where=path,
                    fix="delete it and run `data-prep run` again",
                )
            self.shards.append(shard)
        self._starts = np.cumsum([0, *(info.tokens for info in infos)], dtype=np.int64)
        self._first_document = np.cumsum([0, *(info.documents for info in infos)], dtype=np.int64)

    @property
    def tokens(self) -> int:
        """Number of tokens of the split."""
        return int(self._starts[-1])

    @property
    def documents(self) -> int:
        """Number of documents of the split."""
        return int(self._first_document[-1])

    def read(self, start: int, length: int) -> Tokens:
        """[length] tokens from position `start` of the stream, at least one; a view if they lie in one shard.

        Raises:
            IndexError: the stream does not hold them all.
        """
        if start < 0 or length < 1 or start + length > self.tokens:
            raise IndexError(f"tokens {start}..{start + length} of {self.tokens}")
        parts: list[Tokens] = []
        while length > 0:
            i = int(np.searchsorted(self._starts, start, side="right")) - 1
            inside = start - int(self._starts[i])
            part = self.shards[i].tokens[inside : inside + length]
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def document(self, index: int) -> Tokens:
        """Tokens of document `index`, <|endoftext|> included; a view."""
        i = int(np.searchsorted(self._first_document, index, side="right")) - 1
        shard, inside = self.shards[i], index - int(self._first_document[i])
        return shard.tokens[shard.offsets[inside] : shard.offsets[inside + 1]]

    def counts(self, vocab_size: int) -> npt.NDArray[np.int64]:
        """[vocab_size] how often each token id occurs."""
        total = np.zeros(vocab_size, np.int64)
        for shard in self.shards:
            total += np.bincount(shard.tokens, minlength=vocab_size)
        return total


def unigram_entropy(counts: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> float:
    """Entropy of the token distribution in nats per token: the loss of the best model without context.

    Args:
        counts: [vocab_size] how often each id occurs, or any weights in this proportion.
    """
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
