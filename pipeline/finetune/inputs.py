"""GPT-1's input transformations: a labelled example as one or more token sequences (GPT-1 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from data_prep.errors import UserError
from pipeline.config.task_data import Kind
from pipeline.data.batches import Batch

SPECIAL_TOKENS = 3
"""start, delimiter and extract, appended to the vocabulary."""
NO_ROW = -1
"""Stands in `rows` of a batch where an example has fewer sequences than others."""

Tokens = npt.NDArray[np.int32] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that fine-tuning adds behind a vocabulary of `vocab_size`."""

    start: int
    delimiter: int
    extract: int

    @staticmethod
    def after(vocab_size: int) -> SpecialTokens:
        """The three ids that follow the vocabulary."""
        return SpecialTokens(vocab_size, vocab_size + 1, vocab_size + 2)


def longest_segment(kind: Kind, length: int) -> int:
    """Tokens that are kept of each text: `length - 2` of a single one, else `length // 2 - 2` (GPT-1 code).

    Args:
        kind: form of the input.
        length: tokens of context.

    Raises:
        UserError: nothing would be left.
    """
    kept = length - 2 if kind == "classification" else length // 2 - 2
    if kept < 1:
        raise UserError(
            f"a context of {length} tokens has no room for a {kind} example",
            where="init.checkpoint",
            fix="use a model with a longer sequence_length",
        )
    return kept


def transform(kind: Kind, segments: Sequence[Sequence[int]], special: SpecialTokens, length: int) -> list[list[int]]:
    """The token sequences of one example (GPT-1 3.3).

    classification `[start] text [extract]`; entailment `[start] premise [delimiter] hypothesis [extract]`; similarity
    the same in both orders; choice `[start] context [delimiter] candidate [extract]` for each candidate.

    Args:
        kind: form of the input.
        segments: token ids of each text of the example.
        special: ids of the three tokens.
        length: tokens of context; each segment is cut to `longest_segment`, the context of a choice at its beginning
            (ours: it ends in the question), all else at its end (GPT-1 code).
    """
    kept = longest_segment(kind, length)
    first, *others = (list(segment[:kept]) for segment in segments)
    if kind == "choice":
        first = list(segments[0][-kept:])
    if kind == "classification":
        return [[special.start, *first, special.extract]]

    def pair(left: list[int], right: list[int]) -> list[int]:
        return [special.start, *left, special.delimiter, *right, special.extract]

    rows = [pair(first, other) for other in others]
    if kind == "similarity":
        rows += [pair(other, first) for other in others]
    return rows


def collate(examples: Sequence[Sequence[Tokens]]) -> Batch:
    """Pad to the longest sequence, on the right, where causal attention never looks.

    Args:
        examples: the token sequences of each example.

    Returns:
        `tokens` [sequences, longest] int64; `extract` [sequences] int64, position of the extract token; `rows`
        [n, most sequences of an example] int64, the numbers of an example's sequences, or `NO_ROW`.
    """
    counts = np.array([len(rows) for rows in examples])
    sequences = [row for rows in examples for row in rows]
    lengths = np.array([len(row) for row in sequences])
    tokens = np.zeros((len(sequences), lengths.max()), np.int64)
    tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = np.concatenate(sequences)
    place = np.arange(counts.max())
    rows = np.where(place < counts[:, None], (np.cumsum(counts) - counts)[:, None] + place, NO_ROW)
    return {
        "tokens": torch.from_numpy(tokens),
        "extract": torch.from_numpy(lengths - 1),
        "rows": torch.from_numpy(rows),
    }


def language_targets(batch: Batch) -> Batch:
    """What the language-model loss of a batch asks: every token of a sequence but its first.

    A token weighs 1 / (tokens asked in its sequence x sequences of its example): the mean over an example's own tokens
    (GPT-1 code), and over its sequences.

    Args:
        batch: of `collate`.

    Returns:
        `asked` [m] int64, positions in the flattened [sequences x longest] batch; `targets` [m] int64, the token that
        follows each; `weights` [m] float32, which add up to 1 for each example.
    """
    tokens, extract, rows = batch["tokens"], batch["extract"], batch["rows"]
    asked = torch.arange(tokens.shape[1]) < extract[:, None]
    counts = (rows != NO_ROW).sum(1)
    sequences = torch.repeat_interleave(counts, counts)
    weights = (1.0 / (extract.clamp(min=1) * sequences))[:, None].expand_as(tokens)
    positions = asked.flatten().nonzero()[:, 0]
    return {"asked": positions, "targets": tokens.flatten()[positions + 1], "weights": weights[asked]}
