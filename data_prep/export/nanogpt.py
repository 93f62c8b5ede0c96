"""nanoGPT's `train.bin` and `val.bin`: the token stream as little-endian uint16, <|endoftext|> behind each document."""

from __future__ import annotations

import numpy as np

from data_prep.export.target import Target
from data_prep.shards import DatasetManifest, TokenSplit

NAMES = {"train": "train.bin", "validation": "val.bin"}


def write(manifest: DatasetManifest, splits: dict[str, TokenSplit], target: Target) -> None:
    """Write both splits; the ids must fit into 16 bits."""
    for name, split in splits.items():
        with target.file(NAMES[name]) as out:
            for shard in split.shards:
                for part in target.pieces(shard.tokens):
                    out.write(part.astype(np.dtype("<u2")).tobytes())
