"""What a model says to every example of a split, gathered from all ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from pipeline.finetune.examples import Encoded
from pipeline.train.engine import Engine

Scores = npt.NDArray[np.float64]


def batches_by_length(encoded: Encoded, batch_size: int) -> list[npt.NDArray[np.int64]]:
    """Example numbers in batches of examples that are about equally long, the longest first."""
    order = np.argsort(-encoded.lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def gather_scores(engine: Engine, encoded: Encoded, width: int, batch_size: int) -> Scores:
    """The scores of all examples, the same on every rank; collective.

    The batches do not depend on the number of ranks. Every rank makes the same number of forward passes (ZeRO-3 gathers
    in each): ranks that have run out of batches repeat one and do not count it.

    Args:
        engine: around a `TaskModel`.
        encoded: the examples.
        width: classes, or most candidates of an example.
        batch_size: examples per rank and forward pass.

    Returns:
        [n, width]; -inf for candidates that are none.
    """
    rank, size = engine.data_parallel_rank, engine.data_parallel_size
    batches = batches_by_length(encoded, batch_size)
    found: torch.Tensor | None = None
    for first in range(0, len(batches), size):
        counts = first + rank < len(batches)
        numbers = batches[first + rank] if counts else batches[0]
        scores = engine.evaluate(encoded.batch(numbers))["scores"]
        if found is None:
            found = torch.zeros((len(encoded), width), dtype=torch.float64, device=scores.device)
        if counts:
            padded = torch.full((len(numbers), width), -torch.inf, dtype=torch.float64, device=scores.device)
            padded[:, : scores.shape[1]] = scores
            found[torch.from_numpy(numbers).to(scores.device)] = padded
    assert found is not None
    dist.all_reduce(found)
    return found.cpu().numpy()
