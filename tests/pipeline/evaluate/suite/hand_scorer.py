"""A scorer whose probabilities are written down: what a token costs depends on the token and the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from small_model import tokenizer_bytes

from data_prep.tokenizer import Tokenizer
from pipeline.evaluate.model import Scored, Scorer, Window
from pipeline.model.loss import IGNORE


class HandScorer:
    """Costs are nats; a token is greedy where it costs less than ln 2.

    Args:
        cost: (ids before, id) -> nats.
        length: tokens of the window.
    """

    def __init__(self, cost: Callable[[Sequence[int], int], float], length: int = 64) -> None:
        self.tokenizer, self.sequence_length, self._cost = Tokenizer(tokenizer_bytes()), length, cost
        self.vocab_size = self.tokenizer.vocab_size
        self.seen: list[tuple[list[int], list[int]]] = []

    def token_logprobs(self, windows: Iterable[Window], title: str = "") -> Iterator[Scored]:
        for window in windows:
            assert len(window.tokens) == len(window.targets) <= self.sequence_length
            tokens = list(window.tokens)
            asked = [(tokens[: i + 1], target) for i, target in enumerate(window.targets) if target != IGNORE]
            yield self._scored(window.owner, asked)

    def loglikelihood_ids(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], title: str = "") -> list[Scored]:
        found = []
        for owner, (context, continuation) in enumerate(pairs):
            assert context and 0 < len(continuation) <= self.sequence_length
            room = self.sequence_length + 1 - len(continuation)
            before = list(context)[-room:]
            self.seen.append((before, list(continuation)))
            asked = [([*before, *continuation[:i]], id) for i, id in enumerate(continuation)]
            found.append(self._scored(owner, asked))
        return found

    def _scored(self, owner: int, asked: list[tuple[list[int], int]]) -> Scored:
        costs = [self._cost(before, id) for before, id in asked]
        return Scored(owner, -sum(costs), all(cost < 0.69 for cost in costs), [-cost for cost in costs])


def hand_scorer(cost: Callable[[Sequence[int], int], float], length: int = 64) -> Scorer:
    return cast(Scorer, HandScorer(cost, length))


def uniform(nats: float) -> Callable[[Sequence[int], int], float]:
    return lambda before, id: nats
