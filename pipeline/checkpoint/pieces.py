"""The canonical state in pieces: what each rank keeps of the fp32 weights and moments, and writes into its own file.

A piece is a stretch of one parameter. Under whichever topology it was written, it says in canonical terms (name and
shape of the whole parameter) where it belongs; so any other topology can read just what it needs (`StateReader`).
One file per rank, `state/rank_00000.safetensors`: tensors `{kind}/{name}`, 1-D fp32; the pieces stand in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoint.store import STATE

WEIGHT = "weight"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's running means of gradients and of their squares (1711.05101)."""
KINDS = (WEIGHT, *MOMENTS)
PIECES = "pieces"
"""Key of a file's metadata: JSON, name -> (shape, box, start, end)."""

Box = tuple[tuple[int, int], ...]
"""Per dimension [start, end)."""


@dataclass(frozen=True)
class Piece:
    """A stretch of one parameter.

    Attributes:
        name: canonical name (Hugging Face's GPT-2).
        shape: of the whole parameter, without padded rows of the vocabulary.
        box: the part of the parameter in which the stretch lies: a slice under tensor parallelism, else all of it.
        start: first element, counted row by row within the box.
        end: behind the last.
    """

    name: str
    shape: tuple[int, ...]
    box: Box
    start: int
    end: int

    def __post_init__(self) -> None:
        inside = len(self.box) == len(self.shape) and all(
            0 <= first < last <= size for (first, last), size in zip(self.box, self.shape, strict=True)
        )
        if not inside or not 0 <= self.start < self.end <= box_numel(self.box):
            raise ValueError(f"no stretch of a parameter: {self}")

    @property
    def numel(self) -> int:
        """Number of elements."""
        return self.end - self.start


def box_numel(box: Box) -> int:
    """Number of elements in a box."""
    return prod(end - start for start, end in box)


def cut(name: str, shape: Sequence[int], box: Box, start: int, end: int, rows: int | None = None) -> Piece | None:
    """The piece of a stretch of a parameter that may have padded rows, or None if all of it is padding.

    Args:
        name: canonical name.
        shape: of the whole parameter, padding included.
        box: within that shape.
        start: first element within the box.
        end: behind the last.
        rows: how many rows are no padding; None for all of them.
    """
    if rows is not None:
        shape = (rows, *shape[1:])
        box = ((box[0][0], min(box[0][1], rows)), *box[1:])
        if box[0][0] >= rows:
            return None
        # Rows are the outermost dimension: what is cut off lies behind everything that stays.
        end = min(end, box_numel(box))
    return Piece(name, tuple(shape), box, start, end) if start < end else None


def flaw(pieces: Sequence[Piece]) -> str | None:
    """What keeps the pieces of one parameter from being the whole of it, each element once; None if nothing does."""
    shapes = {piece.shape for piece in pieces}
    if len(shapes) != 1:
        return f"pieces of different shapes: {sorted(shapes)}"
    boxes: dict[Box, list[Piece]] = {}
    for piece in pieces:
        boxes.setdefault(piece.box, []).append(piece)
    if any(_meet(one, other) for one, other in combinations(boxes, 2)):
        return "pieces overlap"
    for inside in boxes.values():
        inside.sort(key=lambda piece: piece.start)
        if any(before.end > after.start for before, after in pairwise(inside)):
            return "pieces overlap"
    held, needed = sum(piece.numel for piece in pieces), prod(pieces[0].shape)
    return None if held == needed else f"{held:,} of {needed:,} elements are there"


def _meet(one: Box, other: Box) -> bool:
    return all(max(a, c) < min(b, d) for (a, b), (c, d) in zip(one, other, strict=True))


@dataclass(frozen=True)
class LocalState:
    """What one rank alone keeps of a run's state; every element is in the pieces of exactly one rank.

    Attributes:
        pieces: each with kind -> 1-D fp32 view of live memory, on whatever device; at most one piece of a parameter.
        scalars: JSON, equal on all ranks: `adam_step`, optimizer steps taken, and `loss_scaler`, of fp16, or None.
    """

    pieces: list[tuple[Piece, dict[str, Tensor]]]
    scalars: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HostState:
    """A copy of a `LocalState` in memory of the CPU.

    Attributes:
        pieces: as there.
        scalars: as there.
        buffer: 1-D fp32, of which the tensors of `pieces` are parts; page-locked if it was copied from a GPU.
    """

    pieces: list[tuple[Piece, dict[str, Tensor]]]
    scalars: dict[str, Any]
    buffer: Tensor


@torch.no_grad()
def copy_to_host(state: LocalState, reuse: HostState | None = None) -> HostState:
    """Copy a rank's state, after which training may go on and change it.

    Args:
        state: the live one.
        reuse: an earlier copy whose memory is taken over if it has the right size; it must be used no more.
    """
    tensors = [tensor for _, kinds in state.pieces for tensor in kinds.values()]
    on_gpu = any(tensor.is_cuda for tensor in tensors)
    numel = sum(tensor.numel() for tensor in tensors)
    if reuse is not None and reuse.buffer.numel() == numel:
        buffer = reuse.buffer
    else:
        buffer = torch.empty(numel, dtype=torch.float32, device="cpu", pin_memory=on_gpu)
    parts = iter(torch.split(buffer, [tensor.numel() for tensor in tensors]))
    pieces = []
    for piece, kinds in state.pieces:
        copies = {kind: next(parts).copy_(tensor, non_blocking=True) for kind, tensor in kinds.items()}
        pieces.append((piece, copies))
    if on_gpu:
        torch.cuda.synchronize()
    return HostState(pieces, state.scalars, buffer)


def state_file(rank: int) -> str:
    """Path of a rank's file within a checkpoint."""
    return f"{STATE}/rank_{rank:05d}.safetensors"


def write_state(path: Path, state: HostState) -> None:
    """Write one rank's file; any thread may do it.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    from safetensors.torch import save_file  # a training step that saves nothing does not need the package

    tensors = {f"{kind}/{piece.name}": tensor for piece, kinds in state.pieces for kind, tensor in kinds.items()}
    table = {piece.name: (piece.shape, piece.box, piece.start, piece.end) for piece, _ in state.pieces}
    if len(table) != len(state.pieces):
        raise ValueError("a rank holds several pieces of one parameter")
    save_file(tensors, path, metadata={PIECES: json.dumps(table)})


def whole_weights(weights: Mapping[str, Tensor]) -> LocalState:
    """The state of a model of which there are only the weights, whole, as of one that was imported."""
    pieces = []
    for name, weight in weights.items():
        box = tuple((0, size) for size in weight.shape)
        pieces.append((Piece(name, tuple(weight.shape), box, 0, weight.numel()), {WEIGHT: weight.float().flatten()}))
    return LocalState(pieces)
