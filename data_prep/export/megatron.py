"""Megatron-LM's indexed dataset: for each split `NAME.bin` and `NAME.idx`, to be given as the prefix `FOLDER/NAME`.

The .bin file is the packed token stream. The .idx file, all little-endian: 9 bytes of magic, version 1 (uint64), code
of the tokens' dtype (uint8), number of sequences (uint64), number of document indices (uint64); then the length of
each sequence (int32); then the first byte of each in .bin (int64); then the first sequence of each document and, at
last, the number of sequences (int64). Here every document is one sequence, with <|endoftext|> at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_prep.export.target import Target
from data_prep.shards import DatasetManifest, TokenSplit

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
_FILE_TYPES: Mapping[str, tuple[np.dtype[Any], int]] = {"uint16": (np.dtype("<u2"), 8), "uint32": (np.dtype("<i4"), 4)}
"""Megatron knows no uint32; ids fit into int32."""


def write(manifest: DatasetManifest, splits: dict[str, TokenSplit], target: Target) -> None:
    """Write all splits. Memory: 20 bytes a document, and pages of the mapped shards."""
    dtype, code = _FILE_TYPES[manifest.dtype]
    for name, split in splits.items():
        with target.file(f"{name}.bin") as out:
            for shard in split.shards:
                for part in target.pieces(shard.tokens):
                    out.write(part.astype(dtype).tobytes())
        lengths = np.concatenate([np.zeros(0, np.int32), *(np.diff(shard.offsets) for shard in split.shards)])
        ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
        with target.file(f"{name}.idx") as out:
            out.write(MAGIC)
            out.write(struct.pack("<QBQQ", VERSION, code, len(lengths), len(lengths) + 1))
            out.write(lengths.astype("<i4").tobytes())
            out.write((ends - lengths.astype(np.int64) * dtype.itemsize).astype("<i8").tobytes())
            out.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
