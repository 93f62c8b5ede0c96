"""The whole state of an engine, put together from what its ranks keep; and files of nothing but that state."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch.distributed as dist

from pipeline.checkpoint.pieces import copy_to_host, state_file, write_state
from pipeline.checkpoint.reader import StateReader
from pipeline.train.engine import Engine

Whole = dict[str, dict[str, Any]]


def whole_state(engine: Engine) -> Whole:
    """kind -> name -> array, on rank 0; kinds without content elsewhere. Every element must be kept exactly once."""
    mine = [(piece, {k: v.cpu().numpy() for k, v in kinds.items()}) for piece, kinds in engine.local_state().pieces]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    whole: Whole = {"weight": {}, "exp_avg": {}, "exp_avg_sq": {}}
    if dist.get_rank() > 0:
        return whole
    for piece, kinds in (one for pieces in everyone for one in pieces):
        for kind, value in kinds.items():
            array = whole[kind].setdefault(piece.name, np.full(piece.shape, np.nan, np.float32))
            numbers = np.arange(array.size).reshape(array.shape)
            places = numbers[tuple(slice(*ends) for ends in piece.box)].reshape(-1)[piece.start : piece.end]
            assert np.isnan(array.reshape(-1)[places]).all(), f"{piece} is kept twice"
            array.reshape(-1)[places] = value
    for kind, arrays in whole.items():
        for name, array in arrays.items():
            assert not np.isnan(array).any(), f"{kind} of {name} is not kept as a whole"
    return whole


def weights_of(engine: Engine) -> dict[str, Any]:
    """name -> whole weight, on rank 0; nothing elsewhere."""
    return dict(whole_state(engine)["weight"])


def save_state(engine: Engine, folder: Path) -> dict[str, Any]:
    """Write the state files of all ranks; returns the scalars."""
    state = copy_to_host(engine.local_state())
    path = folder / state_file(dist.get_rank())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_state(path, state)
    dist.barrier()
    return state.scalars


def open_state(folder: Path, scalars: dict[str, Any]) -> StateReader:
    """A reader of such files."""
    files = {str(path.relative_to(folder)): {} for path in folder.rglob("*.safetensors")}
    manifest: Any = SimpleNamespace(files=files, state=scalars)
    return StateReader(folder, manifest)
