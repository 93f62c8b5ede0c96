"""The model on trees of tokens: log-probabilities of what is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.evaluate.plan import Node, Span, batches, padded
from pipeline.model.cache import Cache
from pipeline.model.gpt import GPT

ROWS = 4
"""Matrices have a multiple of so many rows: with other numbers of them MKL may add up in another order, and a row's
numbers would depend on those beside it."""
_LOGITS = 1 << 26
"""Most logits that are held at once."""


@dataclass(frozen=True)
class Answer:
    """What was asked with a span.

    Attributes:
        request: its number.
        first: number of the first target within the request.
        logprobs: of each target.
        greedy: whether each target is the most likely token.
    """

    request: int
    first: int
    logprobs: list[float]
    greedy: list[bool]


def stack(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """([rows, padded] int64 tokens with padding on the right, [rows] int64 lengths) of rows of one padded length."""
    columns = padded(max(map(len, rows)))
    tokens = torch.zeros((len(rows), columns), dtype=torch.int64)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row)
    return tokens.to(device), torch.tensor([len(row) for row in rows], device=device)


def next_logits(model: GPT, hidden: Tensor, vocab_size: int) -> Tensor:
    """[n, vocab_size] float32 logits of [n, d_model] hidden states, each row by itself."""
    more = -len(hidden) % ROWS
    if more:
        hidden = torch.cat([hidden, hidden[-1:].expand(more, -1)])
    logits = functional.linear(hidden, model.embedding.weight)[: len(hidden) - more, :vocab_size]
    return logits.float()


class Forward:
    """A model that scores nodes.

    Args:
        model: in evaluation mode.
        vocab_size: number of ids that have a probability.
        batch_tokens: columns of a batch, see `batches`.
    """

    def __init__(self, model: GPT, vocab_size: int, batch_tokens: int) -> None:
        self.model, self.vocab_size, self.batch_tokens = model, vocab_size, batch_tokens
        self.device = model.embedding.weight.device

    @torch.inference_mode()
    def answers(self, nodes: Sequence[Node]) -> Iterator[list[Answer]]:
        """The answers of all spans, as they are computed."""
        for numbers in batches(nodes, 0, self.batch_tokens):
            yield from self._batch([nodes[number] for number in numbers], self.model.cache(len(numbers)))

    def _batch(self, nodes: Sequence[Node], cache: Cache) -> Iterator[list[Answer]]:
        keep = bool(nodes[0].children)
        hidden = self.model.read(*stack([node.tokens for node in nodes], self.device), cache, keep)
        yield self._asked(nodes, hidden)
        if keep:
            below = [(row, child) for row, node in enumerate(nodes) for child in node.children]
            children = [child for _, child in below]
            for numbers in batches(children, cache.slots, self.batch_tokens):
                rows = torch.tensor([below[number][0] for number in numbers], device=self.device)
                yield from self._batch([children[number] for number in numbers], cache.branch(rows))

    def _asked(self, nodes: Sequence[Node], hidden: Tensor) -> list[Answer]:
        """Answers from a batch's hidden states [rows, time, d_model]; a position's logits are computed once."""
        columns = hidden.shape[1]
        places: dict[int, int] = {}  # position in the flattened batch -> number among those that are asked
        wanted: list[tuple[int, int]] = []  # (number of the position, target) of each target, span by span
        spans: list[Span] = []
        for row, node in enumerate(nodes):
            for span in node.spans:
                spans.append(span)
                for offset, target in enumerate(span.targets):
                    place = row * columns + span.begin + offset
                    wanted.append((places.setdefault(place, len(places)), target))
        if not wanted:
            return []
        states = hidden.flatten(0, 1)[torch.tensor(list(places), device=self.device)]
        logprobs, greedy = self._logprobs(states, wanted)
        found, start = [], 0
        for span in spans:
            end = start + len(span.targets)
            found.append(Answer(span.request, span.first, logprobs[start:end], greedy[start:end]))
            start = end
        return found

    def _logprobs(self, states: Tensor, wanted: Sequence[tuple[int, int]]) -> tuple[list[float], list[bool]]:
        """(log-probability, whether it is the most likely one) of each (row of `states`, target)."""
        rows, targets = (torch.tensor(part, device=self.device) for part in zip(*wanted, strict=True))
        logprobs = torch.empty(len(rows), device=self.device)
        greedy = torch.empty(len(rows), dtype=torch.bool, device=self.device)
        size = max(ROWS, _LOGITS // self.vocab_size // ROWS * ROWS)
        for first in range(0, len(states), size):
            logits = next_logits(self.model, states[first : first + size], self.vocab_size)
            here = (rows >= first) & (rows < first + size)
            row, target = rows[here] - first, targets[here]
            picked = logits[row, target]
            most, best = logits.max(-1)
            total = logits.sub_(most[:, None]).exp_().sum(-1).log_()
            logprobs[here] = (picked - most[row]) - total[row]
            greedy[here] = best[row] == target
        return logprobs.tolist(), greedy.tolist()
