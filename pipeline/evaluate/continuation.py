"""Continuations behind their contexts, of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from data_prep.tokenizer import Tokenizer
from pipeline.evaluate.model import Scored, Scorer, Window
from pipeline.model.loss import IGNORE

_AT_ONCE = 4096
"""Continuations that are in memory as ids; neighbours share what they begin with."""

Continuation = tuple[list[int], int]
"""(ids of the whole text, number of the first one that is scored)."""


def continuation_ids(tokenizer: Tokenizer, context: str, continuation: str) -> Continuation:
    """A continuation as ids.

    Both are encoded together, so that the boundary is the one that the model has seen in training; what is scored
    starts at the first token that differs from the context's own encoding.
    """
    alone, both = tokenizer.encode_batch([context, context + continuation])
    shared = 0
    while shared < min(len(alone), len(both) - 1) and alone[shared] == both[shared]:
        shared += 1
    return both, shared


def score_continuations(scorer: Scorer, continuations: Iterable[Continuation], title: str) -> Iterator[Scored]:
    """What the model says of each continuation, in order; <|endoftext|> stands before its context.

    As much of the context as fits is seen. A continuation that is longer than a window is scored in several.
    """
    prefix, length = scorer.tokenizer.eot_id, scorer.sequence_length
    remaining = iter(continuations)
    done = 0
    while some := list(islice(remaining, _AT_ONCE)):
        short = [(ids, first) for ids, first in some if len(ids) - first <= length]
        found = iter(scorer.loglikelihood_ids([([prefix, *ids[:first]], ids[first:]) for ids, first in short], title))
        for owner, (ids, first) in enumerate(some, done):
            if len(ids) - first <= length:
                one = next(found)
                yield Scored(owner, one.logprob, one.greedy, one.tokens)
            else:
                pieces = list(scorer.token_logprobs(windows_from(ids, first, prefix, length, owner), title))
                tokens = [value for piece in pieces for value in piece.tokens]
                yield Scored(owner, sum(tokens), all(piece.greedy for piece in pieces), tokens)
        done += len(some)


def windows_from(ids: Sequence[int], first: int, prefix: int, length: int, owner: int) -> Iterator[Window]:
    """Windows that score the ids from number `first` on, each of them once, by the fewest windows or half by half."""
    inputs = [prefix, *ids[:-1]]
    scored = first
    while scored < len(ids):
        end = len(ids)
        if end - scored > length:
            end = length if scored < length else scored + (length + 1) // 2
        begin = max(0, end - length)
        yield Window(inputs[begin:end], [IGNORE] * (scored - begin) + list(ids[scored:end]), owner)
        scored = end
