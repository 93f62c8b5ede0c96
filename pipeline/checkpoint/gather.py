"""The weights of a model in training, whole on every rank, under whichever topology it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.checkpoint.pieces import WEIGHT, LocalState, Piece


@torch.no_grad()
def gather_weights(state: LocalState, shapes: Mapping[str, Sequence[int]], device: torch.device) -> dict[str, Tensor]:
    """Canonical name -> fp32 copy of the whole weight; collective. What training holds is only read.

    Args:
        state: what this rank alone keeps.
        shapes: of all weights, padded rows of the vocabulary included; those are zero in the copy.
        device: where the copies lie, that of the process group.
    """
    whole = {name: torch.zeros(tuple(shape), device=device) for name, shape in shapes.items()}
    for rank in range(dist.get_world_size()):
        mine = rank == dist.get_rank()
        box: list[list[Piece] | None] = [[piece for piece, _ in state.pieces] if mine else None]
        dist.broadcast_object_list(box, src=rank)
        for number, piece in enumerate(box[0] or []):
            part = state.pieces[number][1][WEIGHT].to(device) if mine else torch.empty(piece.numel, device=device)
            dist.broadcast(part, src=rank)
            _put(whole[piece.name], piece, part)
    return whole


def _put(weight: Tensor, piece: Piece, part: Tensor) -> None:
    box = weight[tuple(slice(start, end) for start, end in piece.box)]
    flat = box.reshape(-1)  # a view where the box is all of the weight, or whole rows of it
    flat[piece.start : piece.end] = part
    if flat.data_ptr() != box.data_ptr():
        box.copy_(flat.view_as(box))
