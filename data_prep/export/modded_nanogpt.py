"""The .bin shards of modded-nanogpt and llm.c: `NAME_train_000001.bin`, ..., `NAME_val_000000.bin`, ...

Each starts with 256 int32: magic 20240520, version 1, number of tokens, zeros; the tokens follow as uint16, all
little-endian. A file holds 100 million tokens, whichever documents these belong to. <|endoftext|> stands before each
document, so that the stream is that of the shards with the last <|endoftext|> moved to the front.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_prep.export.target import Target
from data_prep.shards import DatasetManifest, Tokens, TokenSplit

MAGIC, VERSION, HEADER = 20240520, 1, 256
FILE_TOKENS = 100_000_000
_NAMES = {"train": ("train", 1), "validation": ("val", 0)}
"""Name of a split and the number of its first file, as the trainer's own data has them."""


def write(manifest: DatasetManifest, splits: dict[str, TokenSplit], target: Target) -> None:
    """Write both splits; the ids must fit into 16 bits."""
    for split_name, split in splits.items():
        name, first = _NAMES[split_name]
        stream = _stream(split, manifest.eot_id, target)
        rest = np.zeros(0, np.uint16)
        for number, start in enumerate(range(0, split.tokens, FILE_TOKENS), first):
            left = min(FILE_TOKENS, split.tokens - start)
            header = np.zeros(HEADER, "<i4")
            header[:3] = MAGIC, VERSION, left
            with target.file(f"{manifest.name}_{name}_{number:06d}.bin") as out:
                out.write(header.tobytes())
                while left:
                    part = rest if len(rest) else next(stream)
                    out.write(part[:left].astype(np.dtype("<u2")).tobytes())
                    rest = part[left:]
                    left -= min(left, len(part))


def _stream(split: TokenSplit, eot_id: int, target: Target) -> Iterator[Tokens]:
    """The tokens of a split in pieces, <|endoftext|> before instead of behind each document."""
    yield np.array([eot_id], np.uint16)
    left = split.tokens - 1
    for shard in split.shards:
        for part in target.pieces(shard.tokens):
            if left:
                yield part[:left]
            left -= min(left, len(part))
