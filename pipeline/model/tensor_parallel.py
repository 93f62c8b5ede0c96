"""Layers whose matrices are split over ranks (Megatron-LM, 1909.08053, section 3), and the loss over split tokens.

Between a column- and a row-parallel layer each rank holds its slice of the activations; everywhere else all ranks hold
the same. Two functions that are each other's gradient stand at the borders: `enter_split` (f of the paper: identity,
its gradient is summed over the ranks) and `leave_split` (g: a sum over the ranks, its gradient is the identity).

A parameter that is a slice carries `split_dim`, the dimension along which `take_slice` cut it, and the two marks by
which DeepSpeed counts it on every rank in the gradient norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pipeline.model.loss import IGNORE
from pipeline.model.parts import Parts


@dataclass(frozen=True)
class TensorGroup:
    """The ranks that share each matrix.

    Attributes:
        group: their process group.
        rank: this one among them.
        size: their number.
    """

    group: dist.ProcessGroup
    rank: int
    size: int

    def slice_of(self, length: int, what: str) -> slice:
        """This rank's part of `length` equal pieces.

        Raises:
            ValueError: they cannot be dealt out evenly.
        """
        if length % self.size:
            raise ValueError(f"{what} {length} cannot be split over {self.size} ranks")
        part = length // self.size
        return slice(self.rank * part, (self.rank + 1) * part)


class _EnterSplit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        summed = grads[0].contiguous().clone()
        dist.all_reduce(summed, group=ctx.group)
        return summed, None


class _LeaveSplit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        summed = value.contiguous().clone()
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def enter_split(value: Tensor, ranks: TensorGroup) -> Tensor:
    """Identity; the gradient is summed over the ranks."""
    entered: Tensor = _EnterSplit.apply(value, ranks.group)  # type: ignore[no-untyped-call]
    return entered


def leave_split(value: Tensor, ranks: TensorGroup) -> Tensor:
    """Sum over the ranks; the gradient is passed on as it is."""
    left: Tensor = _LeaveSplit.apply(value, ranks.group)  # type: ignore[no-untyped-call]
    return left


def _split_parameter(shape: tuple[int, ...], dim: int) -> nn.Parameter:
    parameter = nn.Parameter(torch.empty(shape))
    for name, value in (("split_dim", dim), ("model_parallel", True), ("tensor_model_parallel", True)):
        setattr(parameter, name, value)
    return parameter


def take_slice(full: Tensor, like: Tensor, ranks: TensorGroup) -> Tensor:
    """This rank's part of a full parameter; all of it if `like` is not split."""
    dim: int | None = getattr(like, "split_dim", None)
    if dim is None:
        return full
    part = ranks.slice_of(full.shape[dim], "a dimension of")
    return full.narrow(dim, part.start, part.stop - part.start)


class ColumnLinear(nn.Module):
    """Linear layer of which each rank computes a slice of the outputs.

    Args:
        ranks: that share it.
        width_in: features of the input, which is whole.
        width_out: features of the output over all ranks.
    """

    def __init__(self, ranks: TensorGroup, width_in: int, width_out: int) -> None:
        super().__init__()
        self._ranks = ranks
        part = ranks.slice_of(width_out, "an output width of")
        self.weight = _split_parameter((part.stop - part.start, width_in), 0)
        self.bias = _split_parameter((part.stop - part.start,), 0)

    def forward(self, value: Tensor) -> Tensor:
        """[..., width_in] on every rank -> [..., width_out / ranks]."""
        return functional.linear(enter_split(value, self._ranks), self.weight, self.bias)


class RowLinear(nn.Module):
    """Linear layer of which each rank holds the columns for its slice of the input; the bias is added once.

    Args:
        ranks: that share it.
        width_in: features of the input over all ranks.
        width_out: features of the output, which is whole.
    """

    def __init__(self, ranks: TensorGroup, width_in: int, width_out: int) -> None:
        super().__init__()
        self._ranks = ranks
        part = ranks.slice_of(width_in, "an input width of")
        self.weight = _split_parameter((width_out, part.stop - part.start), 1)
        self.bias = nn.Parameter(torch.empty(width_out))

    def forward(self, value: Tensor) -> Tensor:
        """[..., width_in / ranks] -> [..., width_out], the same on every rank."""
        return leave_split(functional.linear(value, self.weight), self._ranks) + self.bias


class VocabEmbedding(nn.Module):
    """Token embedding of which each rank holds a range of rows.

    Args:
        ranks: that share it.
        rows: of all ranks, padding included.
        d_model: columns.
    """

    def __init__(self, ranks: TensorGroup, rows: int, d_model: int) -> None:
        super().__init__()
        self._ranks = ranks
        self._rows = ranks.slice_of(rows, "a vocabulary of")
        self.weight = _split_parameter((self._rows.stop - self._rows.start, d_model), 0)

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """[batch, time] int64 token ids -> [batch, time, d_model], the same on every rank."""
        mine = (tokens >= self._rows.start) & (tokens < self._rows.stop)
        found = functional.embedding((tokens - self._rows.start).where(mine, 0), self.weight)
        return leave_split(found * mine[..., None].to(found.dtype), self._ranks)


class _SplitNll(torch.autograd.Function):
    """Negative log-likelihood from logits of which each rank holds a range of the vocabulary, never gathered."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, first: int, group: dist.ProcessGroup) -> Tensor:
        top = logits.amax(1)
        dist.all_reduce(top, dist.ReduceOp.MAX, group=group)
        shifted = logits - top[:, None]
        mine = (targets >= first) & (targets < first + logits.shape[1])
        local = (targets - first).where(mine, 0)
        picked = shifted.gather(1, local[:, None])[:, 0].where(mine, 0.0)
        exponentials = shifted.exp_()
        both = torch.stack([exponentials.sum(1), picked])
        dist.all_reduce(both, group=group)
        total, picked = both
        asked = targets != IGNORE
        ctx.save_for_backward(exponentials.div_(total[:, None]), local, mine, asked)
        return torch.where(asked, total.log() - picked, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        probabilities, local, mine, asked = ctx.saved_tensors
        scale = grads[0].where(asked, 0.0)
        slope = probabilities * scale[:, None]
        slope.scatter_add_(1, local[:, None], -scale.where(mine, 0.0)[:, None])
        return slope, None, None, None


def _piece(hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int, ranks: TensorGroup) -> Tensor:
    logits = functional.linear(enter_split(hidden, ranks), weight).float()
    first = ranks.rank * len(weight)
    if first + len(weight) > vocab_size:  # padding has zero probability
        padding = torch.arange(first, first + len(weight), device=logits.device) >= vocab_size
        logits = logits.masked_fill(padding, torch.finfo(logits.dtype).min)
    nll: Tensor = _SplitNll.apply(logits, targets, first, ranks.group)  # type: ignore[no-untyped-call]
    total: Tensor = nll.sum()
    return total


def split_lm_loss(
    ranks: TensorGroup, hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int, chunk: int = 0
) -> tuple[Tensor, Tensor]:
    """`lm_loss` over a vocabulary of which each rank holds a range of rows; the same result on every rank.

    Args:
        ranks: that share the vocabulary.
        hidden: [batch, time, d_model] last hidden states.
        weight: [rows / ranks, d_model] this rank's part of the output head.
        targets: [batch, time] int64; `IGNORE` where nothing is asked.
        vocab_size: tokens; rows behind them are padding and have zero probability.
        chunk: tokens whose logits are held at once (recomputed in the backward pass); 0 for all.

    Returns:
        (sum in nats, float32 scalar; number of asked positions, int64 scalar).
    """
    flat, wanted = hidden.flatten(0, 1), targets.flatten()
    asked = (targets != IGNORE).sum()
    if chunk <= 0 or chunk >= len(flat):
        return _piece(flat, weight, wanted, vocab_size, ranks), asked
    pieces = [
        checkpoint(_piece, part, weight, some, vocab_size, ranks, use_reentrant=False, preserve_rng_state=False)
        for part, some in zip(torch.split(flat, chunk), torch.split(wanted, chunk), strict=True)
    ]
    return torch.stack(pieces).sum(), asked


@contextmanager
def split_rng(rank: int) -> Iterator[None]:
    """Random numbers inside differ from rank to rank; the common stream outside goes on the same on all of them.

    The state follows from the common stream alone, so that a recomputed block draws the same numbers again.
    """
    seed = int(torch.randint(2**62, ()))
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed((seed + rank * 0x9E3779B97F4A7C15) % 2**63)
        yield


def tensor_parts(ranks: TensorGroup, dropout: float) -> Parts:
    """What a model is built from when `ranks` share its matrices.

    Args:
        ranks: that share them.
        dropout: of attention weights.
    """
    return Parts(
        column=partial(ColumnLinear, ranks),
        row=partial(RowLinear, ranks),
        embedding=partial(VocabEmbedding, ranks),
        split=ranks.size,
        split_rng=partial(split_rng, ranks.rank) if dropout > 0 else nullcontext,
    )
