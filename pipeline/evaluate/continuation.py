"""A continuation behind its context as windows of a scorer."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.tokenizer import Tokenizer
from pipeline.evaluate.model import Window
from pipeline.model.loss import IGNORE


def continuation_ids(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[list[int], int]:
    """(ids of the whole text, number of the first one that is scored).

    Both are encoded together, so that the boundary is the one that the model has seen in training; what is scored
    starts at the first token that differs from the context's own encoding.
    """
    alone, both = tokenizer.encode_batch([context, context + continuation])
    shared = 0
    while shared < min(len(alone), len(both) - 1) and alone[shared] == both[shared]:
        shared += 1
    return both, shared


def continuation_windows(
    tokenizer: Tokenizer, context: str, continuation: str, length: int, owner: int
) -> Iterator[Window]:
    """Windows that score a continuation; <|endoftext|> stands before the context.

    One window, with as much of the context as fits, or several, if the continuation alone is longer.
    """
    both, shared = continuation_ids(tokenizer, context, continuation)
    yield from windows_from(both, shared, tokenizer.eot_id, length, owner)


def windows_from(ids: list[int], first: int, prefix: int, length: int, owner: int) -> Iterator[Window]:
    """Windows that score the ids from number `first` on, each of them once."""
    inputs = [prefix, *ids[:-1]]
    scored = first
    while scored < len(ids):
        end = len(ids)
        if end - scored > length:
            end = length if scored < length else scored + (length + 1) // 2
        begin = max(0, end - length)
        yield Window(inputs[begin:end], [IGNORE] * (scored - begin) + ids[scored:end], owner)
        scored = end
