"""Batches of samples by number: what a step reads is a pure function of the cursor."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data_prep import store
from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.data.order import Int, SampleOrder

Batch = dict[str, Tensor]


class Samples(Protocol):
    """A training set whose sample i is always the same.

    Attributes:
        fingerprint: digest of all that decides what sample i is.
        unit: what schedules and throughput count, "tokens" or "examples".
        units_per_sample: units that one sample counts for.
    """

    fingerprint: str
    unit: str
    units_per_sample: int

    def batch(self, samples: Int) -> Batch:
        """[n] sample numbers -> tensors with leading dimension n."""


def window_count(tokens: int, length: int) -> int:
    """Windows of `length` inputs, each followed by its last target, that a stream of tokens holds."""
    return max(0, (tokens - 1) // length)


def _as_batch(split: TokenSplit, windows: Int, length: int) -> Batch:
    rows = np.empty((len(windows), length + 1), np.int64)
    for row, window in enumerate(windows.tolist()):
        rows[row] = split.read(window * length, length + 1)
    both = torch.from_numpy(rows)
    return {"tokens": both[:, :-1].contiguous(), "targets": both[:, 1:].contiguous()}


class PackedWindows:
    """Training windows of `length` tokens cut from the packed stream, in closed-form shuffled order.

    Documents follow each other with <|endoftext|> between them and are not masked from each other (GPT-3 2.2, B).

    Args:
        folder: the dataset's folder.
        manifest: its manifest.
        length: tokens of context.
        seed: of the order.

    Raises:
        UserError: the split is shorter than one window.
    """

    def __init__(self, folder: str, manifest: DatasetManifest, length: int, seed: int) -> None:
        self._split = TokenSplit(folder, manifest, "train")
        self._length = length
        self.windows = window_count(self._split.tokens, length)
        if self.windows < 1:
            raise UserError(
                f"the train split holds {self._split.tokens:,} tokens, fewer than one window of {length + 1}",
                where=folder,
                fix="use more data or a smaller model.sequence_length",
            )
        self._order = SampleOrder([self.windows], [1.0], seed)
        self.unit, self.units_per_sample = "tokens", length
        self.fingerprint = store.digest({"datasets": [manifest.digest], "length": length, "seed": seed})

    def batch(self, samples: Int) -> Batch:
        """[n] sample numbers -> `tokens` and `targets`, each [n, length] int64."""
        return _as_batch(self._split, self._order.locate(samples).window, self._length)


class FixedWindows:
    """Validation windows: the first ones of the validation split, in order, the same for every topology.

    Args:
        folder: the dataset's folder.
        manifest: its manifest.
        length: tokens of context.
        max_tokens: how much of the split is used.

    Raises:
        UserError: the split is shorter than one window.
    """

    def __init__(self, folder: str, manifest: DatasetManifest, length: int, max_tokens: int) -> None:
        self._split = TokenSplit(folder, manifest, "validation")
        self._length = length
        self.windows = min(window_count(self._split.tokens, length), max(1, max_tokens // length))
        if self.windows < 1:
            raise UserError(
                f"the validation split holds {self._split.tokens:,} tokens, fewer than one window of {length + 1}",
                where=folder,
                fix="give validation a larger share of the documents (shards.validation_share)",
            )

    def __len__(self) -> int:
        return self.windows

    def batch(self, samples: Int) -> Batch:
        """[n] window numbers -> `tokens` and `targets`, each [n, length] int64."""
        return _as_batch(self._split, samples, self._length)
