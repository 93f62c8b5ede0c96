"""Batches of samples by number: what a step reads is a pure function of the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
from torch import Tensor

from data_prep import store
from data_prep.errors import UserError
from data_prep.mixture import largest_remainders
from data_prep.shards import TokenSplit, unigram_entropy
from pipeline.data.order import Int, SampleOrder
from pipeline.data.sources import Source, TrainingData
from pipeline.data.windows import Places, WindowReader

Batch = dict[str, Tensor]
AHEAD = 1 << 14
"""Samples whose place is computed at once: the arithmetic of one alone costs as much as that of hundreds."""


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


def _splits(data: TrainingData, name: str) -> list[TokenSplit]:
    return [TokenSplit(source.folder, source.manifest, name) for source in data.sources]


def _windows(data: TrainingData, splits: Sequence[TokenSplit], name: str, length: int, fix: str) -> list[int]:
    """Windows that each source holds.

    Raises:
        UserError: one holds none.
    """
    found = [window_count(split.tokens, length) for split in splits]
    for source, split, windows in zip(data.sources, splits, found, strict=True):
        if windows < 1:
            raise UserError(
                f"the {name} split holds {split.tokens:,} tokens, fewer than one window of {length + 1}",
                where=source.folder,
                fix=fix,
            )
    return found


class PackedWindows:
    """Training windows of `length` tokens cut from the packed streams, in closed-form shuffled order.

    Documents follow each other with <|endoftext|> between them and are not masked from each other (GPT-3 2.2, B). Each
    source is read without replacement until all of its windows were read (GPT-3 2.2).

    Args:
        data: one dataset or a mixture.
        length: tokens of context.
        seed: of the order.

    Attributes:
        windows: of all sources.

    Raises:
        UserError: a train split is shorter than one window.
    """

    def __init__(self, data: TrainingData, length: int, seed: int) -> None:
        splits = _splits(data, "train")
        fix = "use more data or a smaller model.sequence_length"
        windows = _windows(data, splits, "train", length, fix)
        self.windows = sum(windows)
        self._reader = WindowReader(splits, length)
        self._order = SampleOrder(windows, data.weights, seed)
        self._first, self._ahead = 0, self._place(np.zeros(0, np.int64))
        self.unit, self.units_per_sample = "tokens", length
        datasets = [source.manifest.digest for source in data.sources]
        mixed = {"weights": data.weights} if len(datasets) > 1 else {}
        self.fingerprint = store.digest({"datasets": datasets, "length": length, "seed": seed, **mixed})

    def batch(self, samples: Int) -> Batch:
        """[n] sample numbers -> `tokens` and `targets`, each [n, length] int64."""
        chosen = samples - self._first
        if chosen.view(np.uint64).max() >= len(self._ahead):  # negative ones are huge when seen without a sign
            first = int(samples.min())
            if samples.max() - first >= AHEAD:
                return self._reader.read(self._place(samples), np.arange(len(samples)))
            self._ahead, self._first = self._place(np.arange(first, first + AHEAD, dtype=np.int64)), first
            chosen = samples - first
        return self._reader.read(self._ahead, chosen)

    def _place(self, samples: Int) -> Places:
        found = self._order.locate(samples)
        return self._reader.places(found.source, found.window)


class FixedWindows:
    """Validation windows: the first ones of each validation split, in order, the same for every topology.

    Of a mixture, each source gives windows in proportion to its weight, one source behind the other; there are as many
    in all as the shortest split allows, so that the loss is that of the mixture.

    Args:
        data: one dataset or a mixture.
        length: tokens of context.
        max_tokens: how much is used of all splits together.

    Attributes:
        counts: windows of each source.

    Raises:
        UserError: a validation split is shorter than one window.
    """

    def __init__(self, data: TrainingData, length: int, max_tokens: int) -> None:
        self._splits = _splits(data, "validation")
        self._sources = data.sources
        fix = "give validation a larger share of the documents (shards.validation_share)"
        windows = _windows(data, self._splits, "validation", length, fix)
        total = sum(map(Fraction, data.weights))
        fits = min(int(count * total / Fraction(weight)) for count, weight in zip(windows, data.weights, strict=True))
        wanted = largest_remainders(data.weights, min(fits, max(1, max_tokens // length)))
        self.counts = [min(count, most) for count, most in zip(wanted, windows, strict=True)]
        self._starts = np.cumsum([0, *self.counts], dtype=np.int64)
        self._reader = WindowReader(self._splits, length)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def tokens_per_byte(self) -> float:
        """Of the validation splits, in the proportion in which they are read."""
        infos = [source.manifest.splits["validation"] for source in self._sources]
        text = sum(Fraction(n * info.text_bytes, info.tokens) for n, info in zip(self.counts, infos, strict=True))
        return float(sum(self.counts) / text)

    @property
    def unigram_entropy(self) -> float:
        """Of the validation splits, in the proportion in which they are read; nats per token."""
        counts = [split.counts(source.manifest.vocab_size) for split, source in self._pairs]
        if len(counts) == 1:
            return unigram_entropy(counts[0])
        return unigram_entropy(sum(n * part / part.sum() for n, part in zip(self.counts, counts, strict=True)))

    @property
    def _pairs(self) -> list[tuple[TokenSplit, Source]]:
        return list(zip(self._splits, self._sources, strict=True))

    def batch(self, samples: Int) -> Batch:
        """[n] window numbers -> `tokens` and `targets`, each [n, length] int64."""
        source = np.searchsorted(self._starts, samples, side="right") - 1
        places = self._reader.places(source, samples - self._starts[source])
        return self._reader.read(places, np.arange(len(samples)))
