"""Beam search, as in `transformers`: the best beams go on, those that end are kept by length-normalised score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from data_prep.tokenizer import Tokenizer
from pipeline.evaluate.decoding import Decoding, Generation, Reason, Text
from pipeline.evaluate.forward import Forward, next_logits
from pipeline.evaluate.prompts import ReadPrompts, filled

_NEVER = -1e9
"""Score of beams that are only there to fill up."""


@dataclass
class _Beam:
    ids: list[int]
    text: Text
    logprob: float


@dataclass
class _Search:
    """The search of one prompt.

    Attributes:
        prompt: its number.
        running: beams that go on, best first.
        finished: hypotheses that ended, best first, at most as many.
    """

    prompt: int
    running: list[_Beam]
    finished: list[Generation] = field(default_factory=list)

    def advance(self, candidates: Sequence[tuple[float, int, int]], decoding: Decoding, eot: int) -> list[int]:
        """Take the best continuations.

        Args:
            candidates: (log-probability, number of the beam, token), best first, twice as many as there are beams.
            decoding: how.
            eot: id of <|endoftext|>.

        Returns:
            For each beam that goes on, the number of the beam that it continues; nothing if the search is over.
        """
        length = len(self.running[0].ids) + 1
        going: list[_Beam] = []
        parents: list[int] = []
        for place, (logprob, number, token) in enumerate(candidates):
            parent = self.running[number]
            ids, text = [*parent.ids, token], parent.text
            if token != eot:
                text = text.copy()
                text.add(token)
            if token == eot or text.stopped or length == decoding.max_tokens:
                if place < decoding.beams and logprob > _NEVER / 2:
                    reason: Reason = "end" if token == eot else "stop" if text.stopped else "length"
                    kept = ids[:-1] if token == eot else ids
                    score = logprob / decoding.norm(length)
                    self.finished.append(Generation(kept, text.text, logprob, score, reason))
            elif len(going) < decoding.beams:
                going.append(_Beam(ids, text, logprob))
                parents.append(number)
        self.finished = sorted(self.finished, key=lambda one: -one.score)[: decoding.beams]
        if not going:
            return []
        while len(going) < decoding.beams:
            going.append(_Beam(going[0].ids, going[0].text, _NEVER))
            parents.append(parents[0])
        self.running = going
        full = len(self.finished) == decoding.beams
        if full and going[0].logprob / decoding.norm(length) <= self.finished[-1].score:
            return []  # no beam can become better than those that ended
        return parents


def beam_search(
    forward: Forward, tokenizer: Tokenizer, read: ReadPrompts, decoding: Decoding
) -> Iterator[tuple[int, list[Generation]]]:
    """(number, its hypotheses, best first) of each prompt of a batch."""
    beams = decoding.beams
    cache, hidden = read.copies(beams)

    def start(number: int) -> _Search:
        text = Text(tokenizer, decoding.stop)
        return _Search(number, [_Beam([], text, 0.0 if beam == 0 else _NEVER) for beam in range(beams)])

    live = [start(number) for number in read.numbers]
    while live:
        logprobs = next_logits(forward.model, hidden, forward.vocab_size).log_softmax(-1)
        before = torch.tensor([beam.logprob for search in live for beam in search.running], device=hidden.device)
        reached = logprobs[: len(before)] + before[:, None]
        best = reached.view(len(live), -1).topk(min(2 * beams, beams * forward.vocab_size))
        rows: list[int] = []
        tokens: list[int] = []
        going: list[_Search] = []
        for place, (search, values, indices) in enumerate(
            zip(live, best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            candidates = [
                (value, *divmod(index, forward.vocab_size)) for value, index in zip(values, indices, strict=True)
            ]
            parents = search.advance(candidates, decoding, tokenizer.eot_id)
            if not parents:
                yield search.prompt, search.finished
                continue
            going.append(search)
            rows += [place * beams + parent for parent in parents]
            tokens += [beam.ids[-1] for beam in search.running]
        live = going
        if live:
            chosen = filled(torch.tensor(rows, device=hidden.device))
            fed = filled(torch.tensor(tokens, device=hidden.device))
            cache = cache.branch(chosen)
            hidden = forward.model.read(fed[:, None], torch.ones_like(fed), cache)[:, 0]
