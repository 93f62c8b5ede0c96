"""Validation over a fixed set: token-weighted, the same number for any number of ranks."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from pipeline.data.batches import Batch
from pipeline.data.order import Int
from pipeline.train.engine import Engine, reduce_sums


class FixedSet(Protocol):
    """A set of examples that is read from the first to the last."""

    def __len__(self) -> int: ...

    def batch(self, samples: Int) -> Batch:
        """[n] example numbers -> tensors with leading dimension n."""


def validate(engine: Engine, examples: FixedSet, batch_size: int) -> dict[str, float]:
    """Sums over all examples, added up over the ranks; collective.

    Every rank makes the same number of forward passes (ZeRO-3 gathers in each): ranks that have run out of examples
    repeat one and do not count it.
    """
    rank, size = engine.data_parallel_rank, engine.data_parallel_size
    total: dict[str, torch.Tensor] = {}
    for start in range(0, len(examples), batch_size * size):
        first = start + rank * batch_size
        mine = np.arange(first, min(first + batch_size, len(examples)), dtype=np.int64)
        counts = len(mine) > 0
        sums = engine.evaluate(examples.batch(mine if counts else np.zeros(1, np.int64)))
        for name, value in sums.items():
            part = value if counts else torch.zeros_like(value)
            total[name] = total[name] + part if name in total else part
    return reduce_sums(total)
