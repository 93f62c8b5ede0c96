"""Greedy and sampled continuations, many at once, each independent of those beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from data_prep.tokenizer import Tokenizer
from pipeline.evaluate.decoding import Decoding, Generation, Reason, Text, draw
from pipeline.evaluate.forward import Forward, next_logits
from pipeline.evaluate.prompts import ReadPrompts, filled
from pipeline.model.init import keyed_generator

OnText = Callable[[int, int, str, bool], None]
"""(number of the prompt, number of the sample, next piece of its text, whether it is the last)."""


class _Row:
    """A continuation that grows."""

    def __init__(self, prompt: int, sample: int, tokenizer: Tokenizer, decoding: Decoding) -> None:
        self.prompt, self.sample = prompt, sample
        self.ids: list[int] = []
        self.text = Text(tokenizer, decoding.stop)
        self.logprob = 0.0
        self.reason: Reason | None = None
        self._decoding, self._eot = decoding, tokenizer.eot_id
        self.uniform: list[float] = []
        if decoding.temperature > 0:
            generator = keyed_generator(decoding.seed, f"sample {prompt} {sample}")
            self.uniform = torch.rand(decoding.max_tokens, dtype=torch.float64, generator=generator).tolist()

    def take(self, token: int, logprob: float) -> None:
        self.logprob += logprob
        if token == self._eot:
            self.reason = "end"
            return
        self.ids.append(token)
        self.text.add(token)
        if self.text.stopped:
            self.reason = "stop"
        elif len(self.ids) == self._decoding.max_tokens:
            self.reason = "length"

    def done(self) -> Generation:
        assert self.reason is not None
        score = self.logprob / self._decoding.norm(len(self.ids) + (self.reason == "end"))
        return Generation(self.ids, self.text.text, self.logprob, score, self.reason)


def sample(
    forward: Forward, tokenizer: Tokenizer, read: ReadPrompts, decoding: Decoding, on_text: OnText | None
) -> Iterator[tuple[int, list[Generation]]]:
    """(number, its samples) of each prompt of a batch.

    Args:
        forward: the model.
        tokenizer: its tokenizer.
        read: the prompts.
        decoding: with `beams` 1.
        on_text: is given each piece of text as soon as it is certain.
    """
    rows = [_Row(number, one, tokenizer, decoding) for number in read.numbers for one in range(decoding.samples)]
    cache, hidden = read.copies(decoding.samples)
    live: list[_Row] = list(rows)  # those of the batch, in order; behind them are rows that only fill it up
    while True:
        tokens, logprobs = _choose(next_logits(forward.model, hidden, forward.vocab_size), live, decoding)
        for row, token, logprob in zip(live, tokens.tolist(), logprobs.tolist(), strict=False):
            if row.reason is None:
                row.take(token, logprob)
                if on_text is not None:
                    done = row.reason is not None
                    on_text(row.prompt, row.sample, row.text.fresh(last=done), done)
        left = [number for number, row in enumerate(live) if row.reason is None]
        if not left:
            break
        if 2 * len(left) <= len(live):
            kept = filled(torch.tensor(left, device=hidden.device))
            live = [live[number] for number in left]
            cache, tokens = cache.branch(kept), tokens[kept]
        hidden = forward.model.read(tokens[:, None], torch.ones_like(tokens), cache)[:, 0]
    for first in range(0, len(rows), decoding.samples):
        yield rows[first].prompt, [row.done() for row in rows[first : first + decoding.samples]]


def _choose(logits: Tensor, live: list[_Row], decoding: Decoding) -> tuple[Tensor, Tensor]:
    """([rows] chosen tokens, [rows] their log-probabilities at temperature 1)."""
    if decoding.temperature == 0:
        tokens = logits.argmax(-1)
    else:
        numbers = [row.uniform[min(len(row.ids), decoding.max_tokens - 1)] for row in live]
        numbers += [0.0] * (len(logits) - len(numbers))
        tokens = draw(logits, torch.tensor(numbers, dtype=torch.float64, device=logits.device), decoding)
    return tokens, -functional.cross_entropy(logits, tokens, reduction="none")
