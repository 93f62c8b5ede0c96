"""What is scored: windows of texts, and continuations of contexts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.model.loss import IGNORE


@dataclass(frozen=True)
class Window:
    """One forward pass's worth of scoring.

    Attributes:
        tokens: input ids.
        targets: the id that follows each input; `IGNORE` where it is context only.
        owner: number of the item that the scores belong to.
    """

    tokens: Sequence[int]
    targets: Sequence[int]
    owner: int


@dataclass(frozen=True)
class Scored:
    """What the model says of the asked tokens of a window, a continuation or a text.

    Attributes:
        owner: number of the item.
        logprob: sum of the tokens' log-probabilities, nats.
        greedy: whether every one is the most likely token of its position.
        tokens: log-probability of each.
    """

    owner: int
    logprob: float
    greedy: bool
    tokens: list[float]


@dataclass(frozen=True)
class Request:
    """A continuation to score behind a context; both fit into the model's window.

    Attributes:
        context: ids before it, at least one.
        continuation: ids to score, at least one.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]


def windows_of(ids: Sequence[int], prefix: int, length: int, stride: int, owner: int) -> Iterator[Window]:
    """Windows that score every token of a text once, each with as much context before it as fits.

    Args:
        ids: the text's tokens; the first is predicted from `prefix`.
        prefix: id put in front (<|endoftext|>).
        length: tokens per window.
        stride: tokens scored per window after the first, at most `length`.
        owner: number of the text.
    """
    inputs = [prefix, *ids[:-1]]
    scored = 0
    while scored < len(ids):
        end = min(len(ids), scored + (length if scored == 0 else stride))
        begin = max(0, end - length)
        targets = [IGNORE] * (scored - begin) + list(ids[scored:end])
        yield Window(inputs[begin:end], targets, owner)
        scored = end


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    """(context, continuation) as ids, by the rules of EleutherAI's lm-evaluation-harness.

    White space at the end of a context goes to the continuation; both are encoded together, and the continuation is
    what follows as many ids as the context alone has. An empty context is <|endoftext|>.

    Raises:
        UserError: a continuation is empty.
    """
    moved = []
    for number, (context, continuation) in enumerate(pairs):
        if not continuation:
            raise UserError("an empty continuation has no likelihood", where=f"request {number}", fix="leave it out")
        kept = context.rstrip()
        moved.append((kept, context[len(kept) :] + continuation))
    contexts = list({context: None for context, _ in moved})
    alone = dict(zip(contexts, map(len, tokenizer.encode_batch(contexts)), strict=True))
    both = tokenizer.encode_batch([context + continuation for context, continuation in moved])
    found = []
    for (context, _), ids in zip(moved, both, strict=True):
        # The joint encoding can be shorter than the context's own where a merge spans the border.
        border = min(alone[context], len(ids) - 1)
        before = ids[:border] if border else [tokenizer.eot_id]
        found.append((before, ids[border:]))
    return found


def cut(context: Sequence[int], continuation: Sequence[int], length: int, where: str) -> tuple[Request, bool]:
    """A request that fits a window, and whether its context lost ids on the left.

    Args:
        context: ids, at least one.
        continuation: ids, at least one.
        length: tokens of a window; the last id of the continuation is only predicted and takes no room in it.
        where: what to name in an error.

    Raises:
        UserError: the continuation alone does not fit.
    """
    if len(continuation) > length:
        raise UserError(
            f"a continuation of {len(continuation):,} tokens does not fit into the model's {length:,}",
            where=where,
            fix="leave it out, or score it by rolling log-likelihood",
        )
    room = length + 1 - len(continuation)
    return Request(tuple(context[-room:]), tuple(continuation)), len(context) > room
