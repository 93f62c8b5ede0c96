"""The pieces of a model that tensor parallelism replaces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class TokenEmbedding(nn.Module):
    """[batch, time] int64 token ids -> [batch, time, d_model]; its weight is also the output head.

    Rows behind the vocabulary are padding. A state dict without them loads too and leaves them as they are.

    Args:
        rows: rows of the matrix, padding included.
        d_model: columns.
    """

    def __init__(self, rows: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, d_model))
        self.register_load_state_dict_pre_hook(_pad_rows)  # type: ignore[no-untyped-call]

    def forward(self, tokens: Tensor, documents: Tensor | None = None, reading: object = None) -> Tensor:
        """Look the tokens up."""
        return functional.embedding(tokens, self.weight)


def mark_rows(parameter: nn.Parameter, rows: int) -> None:
    """Note on an embedding's parameter how many rows of the whole matrix are tokens; the rest is padding."""
    parameter.canonical_rows = rows  # type: ignore[attr-defined]


def canonical_rows(parameter: Tensor) -> int | None:
    """Rows of a parameter's whole matrix that have a place in checkpoints, or None for all of them."""
    rows: int | None = getattr(parameter, "canonical_rows", None)
    return rows


def _pad_rows(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    own, given = module.get_parameter("weight"), state.get(f"{prefix}weight")
    if given is not None and len(given) == canonical_rows(own) and len(given) < len(own):
        state[f"{prefix}weight"] = torch.cat([given, own.detach()[len(given) :].to(given)])


@dataclass(frozen=True)
class Parts:
    """Factories of the matrices that may be split over tensor-parallel ranks (1909.08053, section 3).

    Attributes:
        column: (in, out) -> linear layer whose output is split over the ranks.
        row: (in, out) -> linear layer whose input is split over the ranks and whose output is whole.
        embedding: (rows, d_model) -> token embedding.
        split: number of ranks: heads and feed-forward units are divided by it.
        split_rng: context in which random numbers differ from rank to rank (dropout of attention weights).
    """

    column: Callable[[int, int], nn.Module] = nn.Linear
    row: Callable[[int, int], nn.Module] = nn.Linear
    embedding: Callable[[int, int], nn.Module] = TokenEmbedding
    split: int = 1
    split_rng: Callable[[], AbstractContextManager[Any]] = nullcontext


PLAIN = Parts()
"""Nothing is split."""
