"""Byte-level BPE (GPT-2, section 2.2): the trained tokenizer, and the stage that trains it.

The vocabulary is laid out as GPT-2's: ids 0..255 are the bytes, then the merges in the order in which they were
learned, last <|endoftext|>. Text never gives the id of <|endoftext|>, also if that string stands in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from data_prep import keyed, store
from data_prep.configfile import Count, Settings
from data_prep.documents import READ_ROWS, read_rows
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput

END_OF_TEXT = "<|endoftext|>"
FILE = "tokenizer.json"
BYTES = 256
_MIN_PAIR_COUNT = 2
"""A pair seen once compresses nothing."""
_CHECK_BYTES = 1 << 20
"""Text on which a new tokenizer is checked to be lossless and its bytes per token are measured."""
_NOT_UTF8 = re.compile("([\udc80-\udcff]+)")
"""What `surrogateescape` makes of bytes that are not UTF-8."""


def _byte_characters() -> dict[str, int]:
    """Printable character -> byte, the one-to-one table of GPT-2's encoder.py."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(BYTES) if b not in set(printable)]
    return {**{chr(b): b for b in printable}, **{chr(BYTES + n): b for n, b in enumerate(others)}}


class Tokenizer:
    """A byte-level BPE tokenizer: text to ids and back, without loss for any bytes.

    Args:
        data: the bytes of a `tokenizer.json` (Hugging Face `tokenizers` format).
        where: where they were read, for errors.

    Attributes:
        sha256: hex digest of the file, which token datasets record.
        vocab_size: number of ids, <|endoftext|> included.
        eot_id: id of <|endoftext|>, the last one.

    Raises:
        CorruptFile: not a tokenizer file.
        UserError: a tokenizer of another kind.
    """

    def __init__(self, data: bytes, where: str = FILE) -> None:
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._fast = HuggingFaceTokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise CorruptFile(
                f"not a tokenizer file ({error})", where=where, fix="delete it and run the tokenizer stage again"
            ) from None
        # Without this, <|endoftext|> in a document would become the control token.
        self._fast.encode_special_tokens = True
        self.vocab_size: int = self._fast.get_vocab_size()
        vocabulary: dict[str, int] = self._fast.get_vocab()
        table = _byte_characters()
        if END_OF_TEXT not in vocabulary or not table.keys() <= vocabulary.keys():
            raise UserError(
                f"not a byte-level BPE tokenizer with {END_OF_TEXT}", where=where, fix="train one with `data-prep run`"
            )
        self.eot_id: int = vocabulary[END_OF_TEXT]
        self._byte_id = {byte: vocabulary[character] for character, byte in table.items()}
        self._bytes: list[bytes] = [b""] * self.vocab_size
        for token, id in vocabulary.items():
            self._bytes[id] = bytes(table[character] for character in token)

    @staticmethod
    def load(path: str) -> Tokenizer:
        """Read a `tokenizer.json`.

        Raises:
            UserError: there is none, or it is of another kind.
            CorruptFile: not a tokenizer file.
        """
        if not store.exists(path):
            raise UserError("no such tokenizer", where=path, fix="run the tokenizer stage, or correct the path")
        return Tokenizer(store.read_bytes(path), path)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; never `eot_id`."""
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, in threads unless TOKENIZERS_PARALLELISM=false."""
        return [item.ids for item in self._fast.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of any bytes; those that are not UTF-8 become one token each."""
        ids: list[int] = []
        for i, piece in enumerate(_NOT_UTF8.split(data.decode("utf-8", "surrogateescape"))):
            if i % 2 == 0:
                ids += self.encode(piece)
            else:
                ids += [self._byte_id[byte] for byte in piece.encode("utf-8", "surrogateescape")]
        return ids

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes that the ids stand for; `eot_id` gives the 13 bytes of its name."""
        return b"".join([self._bytes[id] for id in ids])

    def decode(self, ids: Sequence[int]) -> str:
        """The text that the ids stand for; bytes that are not UTF-8 (a cut character) become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")


def train(texts: Iterator[str], vocab_size: int) -> bytes:
    """Train byte-level BPE with GPT-2's pre-tokenisation; returns the bytes of a `tokenizer.json`.

    The result depends on the texts but not on their order. It has fewer than `vocab_size` ids where the texts hold too
    few pairs that occur twice. Memory: the distinct pre-tokens with their counts.
    """
    fast = HuggingFaceTokenizer(models.BPE())
    # use_regex: GPT-2's pattern, which keeps merges from crossing character categories.
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=_MIN_PAIR_COUNT,
        initial_alphabet=sorted(_byte_characters()),
        special_tokens=[],
        show_progress=False,
    )
    fast.train_from_iterator(texts, trainer)
    # Added after training, so that it is the last id as in GPT-2.
    fast.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return fast.to_str(pretty=True).encode("utf-8")


class TokenizerSettings(Settings):
    """How the vocabulary is learned."""

    vocab_size: Count = Field(default=50_257, gt=BYTES)
    """Number of ids: 256 bytes, merges, <|endoftext|>."""
    sample_bytes: Count = Field(default=2 * 10**9, gt=0)
    """Train on at most about this many bytes of text; of a larger corpus a keyed sample of documents."""
    seed: int = 0
    """Of the sample."""


class TokenizerStage(Stage):
    """Documents to `tokenizer.json`, in one task.

    Memory: distinct pre-tokens of the sample with their counts; documents are streamed.
    """

    name = "tokenizer"
    settings: TokenizerSettings

    def plan(self) -> list[Task]:
        """One task that sees all documents."""
        return [Task(0, {"documents": self.inputs["documents"]}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Train, check on a sample that nothing is lost, write.

        Raises:
            UserError: `sample_bytes` is so small that no document is in the sample.
        """
        paths = [ref.path for ref in task.inputs["documents"]]
        total = sum(text_bytes(path) for path in paths)
        share = min(1.0, self.settings.sample_bytes / max(total, 1))
        data = train(self._sample(paths, share, total, out), self.settings.vocab_size)
        if out.rows_in == 0:
            raise UserError(
                f"a sample of {self.settings.sample_bytes:,} of {total:,} bytes holds no document",
                where="tokenizer.sample_bytes",
                fix="raise it",
            )
        tokenizer = Tokenizer(data)
        check_share = min(1.0, _CHECK_BYTES / max(total, 1))
        for row in _rows(paths, self.settings.seed, "tokenizer check", check_share):
            ids = tokenizer.encode(row["text"])
            raw = row["text"].encode()
            if tokenizer.decode_bytes(ids) != raw:
                raise RuntimeError(f"the tokenizer loses bytes of document {row['id']}")
            out.extra["checked_bytes"] += len(raw)
            out.extra["checked_tokens"] += len(ids)
        out.extra["vocab_size"] = tokenizer.vocab_size
        out.file(FILE).write(data)

    def _sample(self, paths: Sequence[str], share: float, total: int, out: TaskOutput) -> Iterator[str]:
        for row in _rows(paths, self.settings.seed, "tokenizer sample", share):
            out.rows_in += 1
            out.rows_out += 1
            out.extra["trained_bytes"] += len(row["text"].encode())
            out.advance(out.extra["trained_bytes"], share * total, "bytes")
            yield row["text"]

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Vocabulary size, bytes per token, and a warning if the vocabulary is smaller than asked for."""
        size, tokens = totals.extra["vocab_size"], totals.extra.get("checked_tokens", 0)
        summary: dict[str, Any] = {"vocab_size": size, "unknown_tokens": 0}
        if tokens:
            summary["bytes_per_token"] = round(totals.extra["checked_bytes"] / tokens, 3)
        if size < self.settings.vocab_size:
            summary["warning"] = (
                f"the vocabulary has {size:,} ids instead of {self.settings.vocab_size:,}: "
                f"{totals.extra.get('trained_bytes', 0):,} bytes of text hold no more pairs that occur twice"
            )
        return summary


def _rows(paths: Sequence[str], seed: int, purpose: str, share: float) -> Iterator[Any]:
    for path in paths:
        for row in read_rows(path, ["id", "text"]):
            if keyed.draw(seed, purpose, row["id"]) < share:
                yield row


def text_bytes(path: str) -> int:
    """UTF-8 bytes of text in a file of documents."""
    with store.open_read(path) as handle:
        batches = pq.ParquetFile(handle).iter_batches(batch_size=READ_ROWS, columns=["text"])
        return sum(pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0 for batch in batches)
