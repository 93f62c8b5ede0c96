"""Prompts read into the model's memory, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.evaluate.forward import ROWS, Forward, stack
from pipeline.evaluate.plan import Node, batches
from pipeline.model.cache import Cache


@dataclass(frozen=True)
class ReadPrompts:
    """A batch of prompts that the model has read.

    Attributes:
        numbers: of the prompts.
        cache: with a row for each.
        last: [prompts, d_model] hidden states behind their last tokens.
    """

    numbers: list[int]
    cache: Cache
    last: Tensor

    def copies(self, count: int) -> tuple[Cache, Tensor]:
        """Cache and last states with so many rows for each prompt, and a few more that fill the batch up."""
        rows = torch.arange(len(self.numbers), device=self.last.device).repeat_interleave(count)
        rows = filled(rows)
        return self.cache.branch(rows), self.last[rows]


def filled(rows: Tensor) -> Tensor:
    """Row numbers with the last one repeated up to a multiple of `ROWS`."""
    return torch.cat([rows, rows[-1:].expand(-len(rows) % ROWS)])


def read_prompts(forward: Forward, nodes: Sequence[Node], room: int, copies: int) -> Iterator[ReadPrompts]:
    """Read the prompts of `prompts_forest`.

    Args:
        forward: the model, and the tokens that a batch may have.
        nodes: the trees.
        room: tokens that each will grow by.
        copies: rows that each prompt will have.
    """
    budget = forward.batch_tokens // copies
    for numbers in batches(nodes, room, budget):
        yield from _read(
            forward, [nodes[number] for number in numbers], forward.model.cache(len(numbers)), room, budget
        )


def _read(forward: Forward, nodes: Sequence[Node], cache: Cache, room: int, budget: int) -> Iterator[ReadPrompts]:
    hidden = forward.model.read(*stack([node.tokens for node in nodes], forward.device), cache)
    if nodes[0].spans:
        spans = [node.spans[0] for node in nodes]
        ends = torch.tensor([span.begin for span in spans], device=forward.device)
        last = hidden[torch.arange(len(nodes), device=forward.device), ends]
        yield ReadPrompts([span.request for span in spans], cache, last)
        return
    below = [(row, child) for row, node in enumerate(nodes) for child in node.children]
    children = [child for _, child in below]
    for numbers in batches(children, cache.slots + room, budget):
        rows = torch.tensor([below[number][0] for number in numbers], device=forward.device)
        yield from _read(forward, [children[number] for number in numbers], cache.branch(rows), room, budget)
