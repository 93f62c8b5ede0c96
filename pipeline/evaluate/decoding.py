"""How text is generated: settings, the choice of a token, and where a text ends."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer

Reason = Literal["stop", "end", "length"]


@dataclass(frozen=True)
class Decoding:
    """How a continuation is chosen.

    Attributes:
        max_tokens: at most so many.
        temperature: of sampling; 0 takes the most likely token (greedy).
        top_k: sample among the so many most likely tokens; 0 for all (Fan et al. 2018; GPT-2 uses 2 and 40).
        top_p: sample among the fewest tokens whose probability is together at least this (Holtzman et al. 2020).
        beams: hypotheses of a beam search; 1 for none. Beams do not sample.
        length_alpha: exponent of the length by which a hypothesis's log-probability is divided (GPT-3 2.4: 0.6).
        length_norm: "wu" for ((5 + length) / 6) ** alpha (Wu et al. 2016, eq. 14), "power" for length ** alpha, as in
            `transformers`; the length counts generated tokens, <|endoftext|> included.
        samples: continuations of each prompt.
        seed: of sampling. With the prompt's number and the sample's it decides the draws; the batch does not.
        stop: strings at which a text ends; they are not part of it.

    Raises:
        UserError: settings that make no sense, or not together.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    beams: int = 1
    length_alpha: float = 0.6
    length_norm: Literal["wu", "power"] = "wu"
    samples: int = 1
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sampling = self.temperature > 0
        wrong = {
            "max_tokens must be at least 1": self.max_tokens < 1,
            "temperature must not be negative": self.temperature < 0,
            "top_k must not be negative": self.top_k < 0,
            "top_p must be above 0 and at most 1": not 0 < self.top_p <= 1,
            "beams must be at least 1": self.beams < 1,
            "samples must be at least 1": self.samples < 1,
            "a stop string must not be empty": "" in self.stop,
            "beam search does not sample: leave temperature at 0": sampling and self.beams > 1,
            "top_k and top_p need a temperature above 0": not sampling and (self.top_k > 0 or self.top_p < 1),
            "several samples need a temperature above 0: without one all are the same": not sampling
            and self.samples > 1,
        }
        for what, present in wrong.items():
            if present:
                raise UserError(what, where="decoding")

    def norm(self, length: int) -> float:
        """What the log-probability of a hypothesis of so many tokens is divided by."""
        base = (5 + length) / 6 if self.length_norm == "wu" else length
        return float(base**self.length_alpha)


@dataclass(frozen=True)
class Generation:
    """A continuation.

    Attributes:
        ids: generated tokens, without a last <|endoftext|>.
        text: what they stand for, up to the stop string.
        logprob: sum of the log-probabilities of all that was generated, nats, under the model itself (temperature 1).
        score: `logprob / Decoding.norm(length)`.
        reason: why it ended: a stop string, <|endoftext|>, or enough tokens.
    """

    ids: list[int]
    text: str
    logprob: float
    score: float
    reason: Reason


def draw(logits: Tensor, uniform: Tensor, decoding: Decoding) -> Tensor:
    """[rows] int64 tokens sampled by the inverse of the distribution function, each row by its own number.

    Args:
        logits: [rows, vocab_size] float32.
        uniform: [rows] float64 in [0, 1).
        decoding: temperature, then top_k, then top_p, as in `transformers`.
    """
    wanted = logits.double() / decoding.temperature
    if 0 < decoding.top_k < wanted.shape[1]:
        least = wanted.topk(decoding.top_k, -1).values[:, -1:]
        wanted = wanted.masked_fill(wanted < least, -torch.inf)
    chances = wanted.softmax(-1)
    if decoding.top_p < 1:
        sorted_chances, order = chances.sort(dim=-1, descending=True, stable=True)
        enough = sorted_chances.cumsum(-1) - sorted_chances >= decoding.top_p
        chances = chances.masked_fill(enough.gather(-1, order.argsort(-1)), 0.0)
    reached = chances.cumsum(-1)
    drawn = torch.searchsorted(reached, uniform[:, None] * reached[:, -1:], right=True)[:, 0]
    # Rounding may put the last sum a hair below what was drawn: take the last token that is possible at all.
    last = chances.shape[1] - 1 - (chances > 0).flip(-1).int().argmax(-1)
    return torch.minimum(drawn, last)


@dataclass
class Text:
    """A text that grows token by token until a stop string ends it.

    Args:
        tokenizer: gives the bytes of a token.
        stop: strings that end it.
    """

    tokenizer: Tokenizer
    stop: Sequence[str]
    stopped: bool = False
    _bytes: bytearray = field(default_factory=bytearray)
    _given: int = 0

    def __post_init__(self) -> None:
        self._stops = [stop.encode() for stop in self.stop]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def copy(self) -> Text:
        """One that grows by itself from here."""
        return Text(self.tokenizer, self.stop, self.stopped, bytearray(self._bytes))

    def add(self, token: int) -> None:
        """Append a token; sets `stopped` if a stop string is complete."""
        new = self.tokenizer.decode_bytes([token])
        start = len(self._bytes)
        self._bytes += new
        ends = [at for stop in self._stops if (at := self._bytes.find(stop, max(0, start - len(stop) + 1))) >= 0]
        if ends:
            self.stopped = True
            del self._bytes[min(ends) :]

    @property
    def text(self) -> str:
        """All of it."""
        return self._bytes.decode("utf-8", "replace")

    def fresh(self, last: bool) -> str:
        """What may be shown and was not given before: whole characters that are no beginning of a stop string.

        Args:
            last: nothing follows, so hold nothing back.
        """
        end = len(self._bytes) if last else len(self._bytes) - self._may_stop()
        piece = bytes(self._bytes[self._given : end])
        self._given = max(self._given, end)
        return self._decoder.decode(piece, last)

    def _may_stop(self) -> int:
        """Bytes at the end that a stop string may begin with."""
        most = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(self._bytes)), most, -1):
                if self._bytes.endswith(stop[:size]):
                    most = size
                    break
        return most
