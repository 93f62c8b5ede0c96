"""The stage that turns documents into token shards (`data_prep.shards` holds the format)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from pydantic import Field

from data_prep import keyed, shards, store
from data_prep.configfile import Settings
from data_prep.documents import read_rows
from data_prep.errors import UserError
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.tokenizer import Tokenizer

TRAIN, VALIDATION = shards.SPLITS
_CHUNK = 128
"""Documents given to the tokenizer at a time."""


class ShardsSettings(Settings):
    """How documents are dealt to the splits."""

    validation_share: float = Field(default=0.01, gt=0, lt=1)
    """Share of documents held out."""
    seed: int = 0
    """Of the split and of the order of documents."""


class ShardsStageSettings(ShardsSettings):
    """`ShardsSettings` and the name that the dataset gets."""

    name: str


def split_of(settings: ShardsSettings, id: str) -> str:
    """The split of a document: a keyed hash of its id, so that it stays when other documents come or go."""
    held_out = keyed.draw(settings.seed, "split", id) < settings.validation_share
    return VALIDATION if held_out else TRAIN


class ShardsStage(Stage):
    """Documents and a tokenizer to a token dataset: `manifest.json`, `tokenizer.json`, a shard per file and split.

    Inside a shard the documents follow the order of a keyed hash of their id. Memory: the token ids of one input file,
    and the text of 128 documents.
    """

    name = "shards"
    settings: ShardsStageSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=["tokenizer"])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Encode one file."""
        # The workers share the cores; threads under each of them would only get in each other's way.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        (source,), (trained,) = task.inputs["documents"], task.inputs["tokenizer"]
        tokenizer = Tokenizer.load(trained.path)
        dtype = shards.token_dtype(tokenizer.vocab_size)
        found: dict[str, list[tuple[int, str, shards.Tokens]]] = {split: [] for split in shards.SPLITS}
        rows = read_rows(source.path, ["id", "text"])
        while chunk := list(islice(rows, _CHUNK)):
            for row, ids in zip(chunk, tokenizer.encode_batch([row["text"] for row in chunk]), strict=True):
                split = split_of(self.settings, row["id"])
                tokens = np.array([*ids, tokenizer.eot_id], dtype)
                found[split].append((keyed.key(self.settings.seed, "order", row["id"]), row["id"], tokens))
                out.extra[f"{split}_text_bytes"] += len(row["text"].encode())
                out.extra[f"{split}_words"] += len(row["text"].split())
            out.rows_in += len(chunk)
            out.advance(out.rows_in, source.rows or out.rows_in, "documents")
        for split, documents in found.items():
            if documents:
                documents.sort(key=lambda item: item[:2])
                handle = out.file(f"{split}/shard-{task.index:05d}.arrow")
                out.extra[f"{split}_tokens"] += shards.write_shard(
                    handle, [id for _, id, _ in documents], [tokens for _, _, tokens in documents], dtype
                )
                out.rows_out += len(documents)

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Write the dataset's manifest and its copy of the tokenizer; returns counts by split.

        Raises:
            UserError: a split has no document.
        """
        splits = {
            split: _split_info(split, list(_shard_infos(self.folder, split, outputs)), totals)
            for split in shards.SPLITS
        }
        for split, info in splits.items():
            if info.documents == 0:
                raise UserError(
                    f"the {split} split is empty: {totals.rows_in} documents, "
                    f"shards.validation_share {self.settings.validation_share}",
                    where=self.folder,
                    fix="give more documents, or another shards.validation_share or shards.seed",
                )
        (trained,) = self.inputs["tokenizer"]
        data = store.read_bytes(trained.path)
        tokenizer = Tokenizer(data, trained.path)
        _write_if_changed(store.join(self.folder, shards.TOKENIZER), data)
        manifest = shards.DatasetManifest(
            name=self.settings.name,
            tokenizer_sha256=tokenizer.sha256,
            vocab_size=tokenizer.vocab_size,
            eot_id=tokenizer.eot_id,
            dtype=shards.token_dtype(tokenizer.vocab_size).name,
            splits=splits,
            lineage=self.upstream,
        )
        manifest.save(self.folder)
        tokens = sum(info.tokens for info in splits.values())
        return {
            "dataset": manifest.digest,
            "bytes_per_token": round(sum(info.text_bytes for info in splits.values()) / tokens, 3),
            **{
                f"{name}_{unit}": getattr(info, unit)
                for name, info in splits.items()
                for unit in ("documents", "tokens")
            },
        }


def _shard_infos(folder: str, split: str, outputs: Sequence[FileRef]) -> Iterator[shards.ShardInfo]:
    prefix = store.join(folder, split, "")
    for ref in outputs:
        if ref.path.startswith(prefix):
            shard = shards.Shard.open(ref.path)
            name = ref.path.removeprefix(store.join(folder, ""))
            yield shards.ShardInfo(name, ref.sha256, ref.bytes, len(shard.ids), len(shard.tokens))


def _split_info(split: str, infos: Sequence[shards.ShardInfo], totals: Totals) -> shards.SplitInfo:
    return shards.SplitInfo(
        tuple(infos), totals.extra.get(f"{split}_text_bytes", 0), totals.extra.get(f"{split}_words", 0)
    )


def _write_if_changed(path: str, data: bytes) -> None:
    if not store.exists(path) or store.read_bytes(path) != data:
        store.write_bytes(path, data)
