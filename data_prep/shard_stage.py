"""The two stages that turn documents into token shards (`data_prep.shards` holds the format).

`encode` makes sorted runs of token ids, `shards` cuts all runs at the same keys and merges each range into a shard: the
documents are shuffled over the whole corpus, in bounded memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from pydantic import Field

from data_prep import keyed, shards, store
from data_prep.configfile import Count, Settings
from data_prep.documents import read_rows
from data_prep.errors import UserError
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.token_runs import RunBuffer, key_range, merge, read_range, write_run
from data_prep.tokenizer import Tokenizer

TRAIN, VALIDATION = shards.SPLITS
_CHUNK = 128
"""Documents given to the tokenizer at a time."""
_TASK_BYTES = 32 << 20
"""Of documents as stored, that one task encodes at least: few tasks make few runs, which every shard is merged from."""
_RUN_BYTES = 64 << 20
"""Of token ids in memory before they become runs."""
_FACTS = "facts"
NO_LANGUAGE = "und"
"""ISO 639-2's code for undetermined: of documents that were given no language."""
_UNITS = ("documents", "bytes", "tokens", "unknown")
"""What is counted for each language; tokens without <|endoftext|>."""


class SplitSettings(Settings):
    """How documents are dealt to the splits and put in order."""

    validation_share: float = Field(default=0.01, gt=0, lt=1)
    """Share of documents held out."""
    seed: int = 0
    """Of the split and of the order of documents."""


class SizeSettings(Settings):
    """How large a shard is."""

    shard_bytes: Count = Field(default=256 << 20, gt=0, le=2 << 30)
    """About its bytes; a split has as many shards as this makes."""


class ShardsSettings(SizeSettings, SplitSettings):
    """The token dataset."""


class ShardsStageSettings(SizeSettings):
    """How large a shard is, and the name that the dataset gets."""

    name: str


def split_of(settings: SplitSettings, id: str) -> str:
    """The split of a document: a keyed hash of its id, so that it stays when other documents come or go."""
    held_out = keyed.draw(settings.seed, "split", id) < settings.validation_share
    return VALIDATION if held_out else TRAIN


class EncodeStage(Stage):
    """Documents and a tokenizer to sorted runs of token ids, `<split>/run-TTTTT-RRRR.arrow`.

    The order is that of a keyed hash of the document's id. Memory: 64 MiB of token ids three times, the text of 128
    documents, and the tokenizer.
    """

    name = "encode"
    settings: SplitSettings

    def plan(self) -> list[Task]:
        """One task for each 32 MiB of documents as stored, in whole files."""
        common = {"tokenizer": self.inputs["tokenizer"]}
        groups = list(_grouped(self.inputs["documents"], _TASK_BYTES))
        return [Task(i, {"documents": refs, **common}, {}) for i, refs in enumerate(groups)]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Encode some files."""
        # The workers share the cores; threads under each of them would only get in each other's way.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        os.environ.setdefault("RAYON_NUM_THREADS", "1")
        (trained,) = task.inputs["tokenizer"]
        tokenizer = Tokenizer.load(trained.path)
        buffer = RunBuffer(shards.token_dtype(tokenizer.vocab_size))
        number = 0
        known = [ref.rows or 0 for ref in task.inputs["documents"]]
        rows = (row for ref in task.inputs["documents"] for row in read_rows(ref.path, ["id", "text", "language"]))
        while chunk := list(islice(rows, _CHUNK)):
            self._encode(tokenizer, chunk, buffer, out)
            if buffer.bytes >= _RUN_BYTES:
                _flush(buffer, task.index, number, out)
                number += 1
            out.rows_in += len(chunk)
            out.advance(out.rows_in, max(sum(known), out.rows_in), "documents")
        _flush(buffer, task.index, number, out)
        out.rows_out = out.rows_in

    def _encode(self, tokenizer: Tokenizer, chunk: list[Any], buffer: RunBuffer, out: TaskOutput) -> None:
        packed, offsets = tokenizer.encode_packed([row["text"] for row in chunk])
        bounds = np.asarray(offsets, np.int64)
        # The end of text goes behind each document.
        tokens = np.insert(packed, bounds[1:], tokenizer.eot_id)
        sizes = [len(row["text"].encode()) for row in chunk]
        words = [len(row["text"].split()) for row in chunk]
        splits = [split_of(self.settings, row["id"]) for row in chunk]
        buffer.add(
            [shards.SPLITS.index(split) for split in splits],
            [keyed.key(self.settings.seed, "order", row["id"]) for row in chunk],
            [row["id"] for row in chunk],
            tokens,
            bounds + np.arange(len(bounds)),
            sizes,
            words,
        )
        for i, (row, split) in enumerate(zip(chunk, splits, strict=True)):
            ids = packed[bounds[i] : bounds[i + 1]]
            language = row["language"] or NO_LANGUAGE
            for unit, count in zip(_UNITS, (1, sizes[i], len(ids), tokenizer.unknown(ids)), strict=True):
                out.extra[f"{language}:{unit}"] += count
            out.extra[f"{split}_documents"] += 1

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Documents, bytes per token and unknown tokens of each language.

        Raises:
            UserError: a split has no document.
        """
        for split in shards.SPLITS:
            if not totals.extra.get(f"{split}_documents"):
                raise UserError(
                    f"the {split} split is empty: {totals.rows_in} documents, "
                    f"shards.validation_share {self.settings.validation_share}",
                    where=self.folder,
                    fix="give more documents, or another shards.validation_share or shards.seed",
                )
        return {"languages": _languages(totals)}


class ShardsStage(Stage):
    """Runs of token ids to a token dataset: `manifest.json`, `tokenizer.json` and the shards of each split.

    A shard holds one range of keys of all runs, so that the shards, one behind the other, are the whole corpus in the
    keyed order. Memory: two and a half times a shard's bytes, pages of the mapped runs included.
    """

    name = "shards"
    revision = 3
    settings: ShardsStageSettings

    def plan(self) -> list[Task]:
        """One task for each shard: as many shards of a split as its runs have `shard_bytes`."""
        tasks: list[Task] = []
        for split in shards.SPLITS:
            runs = self.inputs[split]
            count = max(1, round(sum(ref.bytes for ref in runs) / self.settings.shard_bytes))
            for number in range(count):
                params = {"split": split, "shard": number, "of": count}
                tasks.append(Task(len(tasks), {"runs": runs}, params))
        return tasks

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Merge one range of keys."""
        split, number, count = (task.params[name] for name in ("split", "shard", "of"))
        low, high = key_range(number, count)
        batches = []
        for done, ref in enumerate(task.inputs["runs"]):
            batches += [batch for batch in read_range(ref.path, low, high) if batch.num_rows]
            out.advance(done + 1, len(task.inputs["runs"]) + 1, "runs")
        merged = merge(batches)
        out.rows_in = out.rows_out = len(merged.ids)
        if not merged.ids:
            return
        name = f"{split}/shard-{number:05d}.arrow"
        tokens = shards.write_shard(out.file(name), merged.ids, merged.documents, merged.documents[0].dtype)
        out.extra.update(
            {
                f"{split}_text_bytes": merged.text_bytes,
                f"{split}_words": merged.words,
                f"{split}_tokens": tokens,
            }
        )
        facts = {"path": name, "documents": len(merged.ids), "tokens": tokens}
        out.file(f"{_FACTS}/{task.index:05d}.json").write(store.canonical_json(facts))

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Write the dataset's manifest and its copy of the tokenizer; returns counts by split."""
        infos = list(_shard_infos(self.folder, outputs))
        splits = {
            split: shards.SplitInfo(
                tuple(info for info in infos if info.path.startswith(f"{split}/")),
                totals.extra.get(f"{split}_text_bytes", 0),
                totals.extra.get(f"{split}_words", 0),
            )
            for split in shards.SPLITS
        }
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
            "bytes_per_token": round(sum(info.text_bytes for info in splits.values()) / max(tokens, 1), 3),
            **{
                f"{name}_{unit}": getattr(info, unit)
                for name, info in splits.items()
                for unit in ("documents", "tokens")
            },
        }


def _grouped(refs: Sequence[FileRef], size: int) -> Iterator[list[FileRef]]:
    """Neighbouring files together, until they have `size` bytes."""
    group: list[FileRef] = []
    for ref in refs:
        group.append(ref)
        if sum(one.bytes for one in group) >= size:
            yield group
            group = []
    if group:
        yield group


def _flush(buffer: RunBuffer, task: int, number: int, out: TaskOutput) -> None:
    for split, table, rows in buffer.take():
        write_run(out.file(f"{shards.SPLITS[split]}/run-{task:05d}-{number:04d}.arrow"), table, rows)


def _languages(totals: Totals) -> dict[str, dict[str, float]]:
    """Language -> documents, bytes of text for each token, unknown tokens; the most text first."""
    found: dict[str, dict[str, int]] = {}
    for name, count in totals.extra.items():
        language, separator, unit = name.rpartition(":")
        if separator:
            found.setdefault(language, dict.fromkeys(_UNITS, 0))[unit] = count
    return {
        language: {
            "documents": counts["documents"],
            "bytes_per_token": round(counts["bytes"] / max(counts["tokens"], 1), 3),
            "unknown": counts["unknown"],
        }
        for language, counts in sorted(found.items(), key=lambda item: (-item[1]["bytes"], item[0]))
    }


def _shard_infos(folder: str, outputs: Sequence[FileRef]) -> Iterator[shards.ShardInfo]:
    """What is known of each shard, without reading one: a dataset may lie on an object store."""
    by_path: Mapping[str, FileRef] = {ref.path: ref for ref in outputs}
    for ref in outputs:
        if ref.path.startswith(store.join(folder, _FACTS, "")):
            facts = store.read_json(ref.path)
            shard = by_path[store.join(folder, facts["path"])]
            yield shards.ShardInfo(facts["path"], shard.sha256, shard.bytes, facts["documents"], facts["tokens"])


def _write_if_changed(path: str, data: bytes) -> None:
    if not store.exists(path) or store.read_bytes(path) != data:
        store.write_bytes(path, data)
