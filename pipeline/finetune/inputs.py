"""GPT-1's input transformation for classification: `[start] text [extract]` (GPT-1 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.data.batches import Batch
from pipeline.model.loss import IGNORE

SPECIAL_TOKENS = 3
"""start, delimiter and extract, appended to the vocabulary."""


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


def classification(text: Sequence[int], special: SpecialTokens, length: int) -> list[int]:
    """`[start] text [extract]`, the text cut so that all fits into `length` tokens."""
    return [special.start, *text[: length - 2], special.extract]


def collate(sequences: Sequence[Sequence[int]], labels: Sequence[int]) -> Batch:
    """Pad to the longest sequence, on the right, where causal attention never looks.

    Returns:
        `tokens` [n, longest] int64; `targets` [n, longest] int64, the next token or `IGNORE`; `extract` [n] int64,
        position of the extract token; `labels` [n] int64.
    """
    longest = max(len(sequence) for sequence in sequences)
    tokens = torch.zeros((len(sequences), longest), dtype=torch.int64)
    targets = torch.full((len(sequences), longest), IGNORE, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        values = torch.tensor(sequence, dtype=torch.int64)
        tokens[row, : len(sequence)] = values
        targets[row, : len(sequence) - 1] = values[1:]
    return {
        "tokens": tokens,
        "targets": targets,
        "extract": torch.tensor([len(sequence) - 1 for sequence in sequences]),
        "labels": torch.tensor(labels),
    }
