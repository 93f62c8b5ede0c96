"""The stage that makes the tokenizer of a corpus: trained on its documents, or given."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from data_prep import keyed, store
from data_prep.configfile import Count, Settings
from data_prep.documents import READ_ROWS, read_rows
from data_prep.errors import UserError
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.tokenizer import published
from data_prep.tokenizer.codec import Tokenizer
from data_prep.tokenizer.layout import BYTES, PUBLISHED_SIZE, Kind
from data_prep.tokenizer.training import train

FILE = "tokenizer.json"
_CHECK_BYTES = 1 << 20
"""Text on which a new tokenizer is checked to be lossless and its bytes per token are measured."""


class TokenizerSettings(Settings):
    """How the vocabulary is learned, or where it lies."""

    kind: Kind = "gpt2"
    """`gpt2`: byte-level BPE, without loss; `gpt1`: GPT-1's BPE over standardised lower-case text."""
    path: str | None = None
    """Take this vocabulary and train none: a `tokenizer.json`, or a folder with one, with GPT-2's encoder.json and
    vocab.bpe (vocab.json and merges.txt), or with GPT-1's encoder_bpe_40000.json and vocab_40000.bpe. `$NAME` and
    `${NAME}` stand for environment variables."""
    vocab_size: Count | None = Field(default=None, gt=BYTES)
    """Number of ids to learn, <|endoftext|> included; None: 50,257 for `gpt2`, 40,479 for `gpt1`."""
    sample_bytes: Count = Field(default=2 * 10**9, gt=0)
    """Train on at most about this many bytes of text; of a larger corpus a keyed sample of documents."""
    seed: int = 0
    """Of the sample."""


class TokenizerStage(Stage):
    """Documents to `tokenizer.json`, in one task.

    Memory: distinct words of the sample with their counts; documents are streamed, and the sample lies in a temporary
    file meanwhile.
    """

    name = "tokenizer"
    revision = 2
    settings: TokenizerSettings

    def plan(self) -> list[Task]:
        """One task that sees all documents.

        Raises:
            UserError: no vocabulary lies under `path`.
        """
        given = {} if self._path is None else {"files": [store.sha256_of(name) for name in published.files(self._path)]}
        return [Task(0, {"documents": self.inputs["documents"]}, given)]

    @property
    def _path(self) -> str | None:
        return None if self.settings.path is None else os.path.expandvars(self.settings.path)

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Train or load, check on a sample that nothing is lost, write.

        Raises:
            UserError: `sample_bytes` is so small that no document is in the sample, or what is given is no vocabulary
                of the kind that is set.
        """
        paths = [ref.path for ref in task.inputs["documents"]]
        total = sum(text_bytes(path) for path in paths)
        data = self._trained(paths, total, out) if self._path is None else published.read(self._path)
        tokenizer = Tokenizer(data, self._path or FILE)
        if tokenizer.kind != self.settings.kind:
            raise UserError(
                f"a vocabulary of kind {tokenizer.kind}, not {self.settings.kind}",
                where=self._path or FILE,
                fix=f"set tokenizer.kind={tokenizer.kind}",
            )
        check_share = min(1.0, _CHECK_BYTES / max(total, 1))
        for row in _rows(paths, self.settings.seed, "tokenizer check", check_share):
            ids, _ = tokenizer.encode_packed([row["text"]])
            raw = row["text"].encode()
            if tokenizer.kind == "gpt2" and tokenizer.decode_bytes(ids.tolist()) != raw:
                raise RuntimeError(f"the tokenizer loses bytes of document {row['id']}")
            out.extra["checked_bytes"] += len(raw)
            out.extra["checked_tokens"] += len(ids)
            out.extra["checked_unknown"] += tokenizer.unknown(ids)
        out.extra["vocab_size"] = tokenizer.vocab_size
        out.file(FILE).write(data)

    def _trained(self, paths: Sequence[str], total: int, out: TaskOutput) -> bytes:
        share = min(1.0, self.settings.sample_bytes / max(total, 1))
        data = train(self._sample(paths, share, total, out), self.settings.vocab_size, self.settings.kind)
        if out.rows_in == 0:
            raise UserError(
                f"a sample of {self.settings.sample_bytes:,} of {total:,} bytes holds no document",
                where="tokenizer.sample_bytes",
                fix="raise it",
            )
        return data

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
        summary: dict[str, Any] = {"vocab_size": size, "unknown_tokens": totals.extra.get("checked_unknown", 0)}
        if tokens:
            summary["bytes_per_token"] = round(totals.extra["checked_bytes"] / tokens, 3)
        wanted = self.settings.vocab_size or PUBLISHED_SIZE[self.settings.kind]
        if self._path is None and size < wanted:
            summary["warning"] = (
                f"the vocabulary has {size:,} ids instead of {wanted:,}: "
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
