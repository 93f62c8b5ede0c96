"""Prompts read into the model's memory, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.evaluate.forward import ROWS, Forward, stack
from pipeline.evaluate.plan import Node, batches
from pipeline.model.cache import Cache, JoinedCache, Memory


@dataclass(frozen=True)
class ReadPrompts:
    """Prompts that the model has read and that go on together.

    Attributes:
        numbers: of the prompts.
        cache: with a row for each.
        last: [prompts, d_model] hidden states behind their last tokens.
    """

    numbers: list[int]
    cache: Memory
    last: Tensor

    def copies(self, count: int) -> tuple[Memory, Tensor]:
        """Cache and last states with so many rows for each prompt, and a few more that fill the batch up."""
        rows = torch.arange(len(self.numbers), device=self.last.device).repeat_interleave(count)
        rows = filled(rows)
        return self.cache.branch(rows), self.last[rows]


def filled(rows: Tensor) -> Tensor:
    """Row numbers with the last one repeated up to a multiple of `ROWS`."""
    return torch.cat([rows, rows[-1:].expand(-len(rows) % ROWS)])


def read_prompts(forward: Forward, nodes: Sequence[Node], room: int, copies: int) -> Iterator[ReadPrompts]:
    """Read the prompts of `prompts_forest`.

    Prompts of one padded length are read together. What is made of them, token by token, goes on together for prompts
    of any length: there the weights are what takes time, and they are gone through once for all.

    Args:
        forward: the model, and the tokens that a batch may have.
        nodes: the trees.
        room: tokens that each will grow by.
        copies: rows that each prompt will have.
    """
    budget = forward.batch_tokens // copies
    parts: list[_Part] = []
    for numbers in batches(nodes, room, budget):
        cache = forward.model.cache(len(numbers))
        for part in _read(forward, [nodes[number] for number in numbers], cache, room, budget):
            if parts and sum(one.columns(room) for one in [*parts, part]) > budget:
                yield _joined(parts)
                parts = []
            parts.append(part)
    if parts:
        yield _joined(parts)


@dataclass(frozen=True)
class _Part:
    """Prompts of one batch; attributes as in `ReadPrompts`."""

    numbers: list[int]
    cache: Cache
    last: Tensor

    def columns(self, room: int) -> int:
        """What all rows will have in the end."""
        return len(self.numbers) * (self.cache.slots + room)


def _joined(parts: Sequence[_Part]) -> ReadPrompts:
    numbers = [number for part in parts for number in part.numbers]
    return ReadPrompts(numbers, JoinedCache([part.cache for part in parts]), torch.cat([part.last for part in parts]))


def _read(forward: Forward, nodes: Sequence[Node], cache: Cache, room: int, budget: int) -> Iterator[_Part]:
    hidden = forward.model.read(*stack([node.tokens for node in nodes], forward.device), cache)
    if nodes[0].spans:
        spans = [node.spans[0] for node in nodes]
        ends = torch.tensor([span.begin for span in spans], device=forward.device)
        last = hidden[torch.arange(len(nodes), device=forward.device), ends]
        yield _Part([span.request for span in spans], cache, last)
        return
    below = [(row, child) for row, node in enumerate(nodes) for child in node.children]
    children = [child for _, child in below]
    for numbers in batches(children, cache.slots + room, budget):
        rows = torch.tensor([below[number][0] for number in numbers], device=forward.device)
        yield from _read(forward, [children[number] for number in numbers], cache.branch(rows), room, budget)
