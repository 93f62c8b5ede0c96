"""An engine that holds state and does not train, and checkpoints of it; every rank holds a share of each parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.checkpoint.checkpointer import Checkpointer
from pipeline.checkpoint.pieces import KINDS, LocalState, Piece
from pipeline.checkpoint.reader import StateReader
from pipeline.checkpoint.store import CheckpointManifest, CheckpointStore, Cursor
from pipeline.config.train import CheckpointConfig
from pipeline.distributed import World

SHAPES = {"wide": (40, 6), "short": (5,)}
TOKENIZER_JSON = b'{"not": "read here"}'
CONSUMED = 192
"""Of a step."""


def value(name: str, kind: str, step: int) -> Tensor:
    """What a parameter is at a step, flat."""
    count = torch.Size(SHAPES[name]).numel()
    return torch.arange(count, dtype=torch.float32) + 1000 * step + 100_000 * KINDS.index(kind)


class SmallEngine:
    """Has the state of a step.

    Args:
        world: this process among all.
        step: optimizer steps done.
    """

    data_parallel_rank, data_parallel_size = 0, 1

    def __init__(self, world: World, step: int) -> None:
        self.world, self.adam_step = world, step
        self.parts: list[tuple[Piece, dict[str, Tensor]]] = []
        for name, shape in SHAPES.items():
            count = torch.Size(shape).numel()
            start, end = count * world.rank // world.size, count * (world.rank + 1) // world.size
            piece = Piece(name, shape, tuple((0, size) for size in shape), start, end)
            self.parts.append((piece, {kind: value(name, kind, step)[start:end].clone() for kind in KINDS}))

    def local_state(self) -> LocalState:
        return LocalState(self.parts, {"adam_step": self.adam_step, "loss_scaler": None})

    def load_state(self, reader: StateReader) -> None:
        for piece, kinds in self.parts:
            for kind, tensor in kinds.items():
                reader.fill(piece, kind, tensor)
        self.adam_step = reader.scalars["adam_step"]

    def go_on(self, step: int) -> None:
        """Change the state in place, as training does."""
        fresh = SmallEngine(self.world, step)
        self.adam_step = step
        for (_, mine), (_, theirs) in zip(self.parts, fresh.parts, strict=True):
            for kind, tensor in mine.items():
                tensor.copy_(theirs[kind])

    def is_at(self, step: int) -> bool:
        wanted = SmallEngine(self.world, step)
        pairs = zip(self.parts, wanted.parts, strict=True)
        same = all(torch.equal(mine[kind], theirs[kind]) for (_, mine), (_, theirs) in pairs for kind in KINDS)
        return same and self.adam_step == step


def manifest(step: int, **changes: Any) -> CheckpointManifest:
    """Of a step, without state and files."""
    facts: dict[str, Any] = {
        "cursor": Cursor(step, 12 * step, CONSUMED * step),
        "kind": "pretrain",
        "seed": 1,
        "model": {"n_layer": 2, "vocab_size": 300},
        "data": "d",
        "topology": {"world_size": 2, "zero_stage": 1},
        "tokenizer_sha256": "t",
        "identity": {"optimizer": {"betas": [0.9, 0.95]}},
        "config_sha": "c",
        "lineage": {"shards": "s"},
        "tracking_run": "",
        **changes,
    }
    return CheckpointManifest(**facts)


def joined() -> World:
    """This process among all, in a process group without DeepSpeed, which takes longer to start."""
    if not dist.is_initialized():
        torch.set_num_threads(1)
        dist.init_process_group("gloo")
    return World(dist.get_rank(), dist.get_world_size(), dist.get_rank(), torch.device("cpu"))


def opened(folder: Path, step: int = 0, upload: str | None = None, **config: Any) -> tuple[Checkpointer, SmallEngine]:
    """A checkpointer of this rank over a small engine; joins the process group."""
    world = joined()
    settings = CheckpointConfig(**{"keep_last": 2, **config})
    engine = SmallEngine(world, step)
    checkpoints = CheckpointStore(folder, settings.keep_last, config.get("milestone"))

    def say(line: str) -> None:
        if world.is_main:
            print(line, flush=True)

    return Checkpointer(checkpoints, engine, world, settings, say, upload), engine


def save(checkpointer: Checkpointer, engine: SmallEngine, step: int) -> None:
    """Save the state of a step, wait for it."""
    engine.go_on(step)
    checkpointer.save(manifest(step), TOKENIZER_JSON)
    checkpointer.wait()


def saved(folder: Path, *steps: int, **settings: Any) -> list[int]:
    """Save these steps; what is there then."""
    checkpointer, engine = opened(folder, **settings)
    for step in steps:
        save(checkpointer, engine, step)
    checkpointer.close()
    return CheckpointStore(folder, 99).steps()


def resumed(folder: Path, **settings: Any) -> int | None:
    """The step that a resume finds; its state must be that step's."""
    checkpointer, engine = opened(folder, **settings)
    found = checkpointer.resume()
    if found is None:
        return None
    checkpointer.load(*found)
    step = found[1].cursor.step
    assert engine.is_at(step)
    checkpointer.close()
    return step
