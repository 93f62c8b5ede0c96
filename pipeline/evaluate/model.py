"""A checkpoint as a scorer: log-probabilities of tokens in fp32, independent of batches, padding and ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from types import TracebackType
from typing import Any, Self

from data_prep.progress import ProgressBar
from pipeline.evaluate.forward import Answer, Forward
from pipeline.evaluate.loading import LoadedModel, load_model
from pipeline.evaluate.plan import Node, deal, forest, window_node
from pipeline.evaluate.ranks import Ranks
from pipeline.evaluate.requests import Request, Scored, Window, cut, encode_pairs, windows_of
from pipeline.evaluate.writing import write

__all__ = ["Scored", "Scorer", "Window", "windows_of"]

_WINDOWS = 4096
"""Windows that are sorted by length and dealt to ranks at once."""
_SHOWN = 64
"""Fewer requests than these show no progress."""


class Scorer:
    """A pretrained model for scoring, in fp32, without DeepSpeed.

    Under a launcher with several ranks, rank 0 alone calls the methods; the others call `serve`, which returns when
    rank 0 leaves the scorer as a context.

    Args:
        checkpoint: folder of a pretraining checkpoint, or of a Hugging Face model; or a model that is open already.
        batch_tokens: columns of tokens per forward pass, padding and what was read before included; it does not change
            the numbers.
        ranks: those that compute together; this process alone if not given.

    Attributes:
        tokenizer: the model's.
        sequence_length: tokens of its window.
        truncated: requests whose context was cut on the left so far.
        forward: the model on this rank, for what is not scoring.

    Raises:
        UserError: the checkpoint is missing, damaged or not a language model.
    """

    def __init__(self, checkpoint: str | LoadedModel, batch_tokens: int = 8192, ranks: Ranks | None = None) -> None:
        self.ranks = ranks or Ranks.alone()
        self.loaded = load_model(checkpoint, self.ranks.device) if isinstance(checkpoint, str) else checkpoint
        self.model, self.tokenizer = self.loaded.model, self.loaded.tokenizer
        self.vocab_size, self.sequence_length = self.loaded.vocab_size, self.model.config.sequence_length
        self.batch_tokens, self.truncated = batch_tokens, 0
        self.forward = Forward(self.model, self.vocab_size, batch_tokens)
        self._works: dict[str, Callable[[Any], Any]] = {
            "score": self._answers,
            "generate": lambda payload: write(self.forward, self.tokenizer, *payload),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):  # interrupted, the others may be in the middle of something
            self.ranks.dismiss()

    def serve(self) -> None:
        """Compute what rank 0 deals out, until it is done; for the other ranks."""
        self.ranks.serve(self._works)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], title: str = "scoring") -> list[Scored]:
        """Log-probability of continuations behind contexts, encoded as the lm-evaluation-harness does.

        Args:
            pairs: (context, continuation); see `encode_pairs`.
            title: of the progress shown.

        Raises:
            UserError: a continuation is empty, or longer than the window.
        """
        return self.loglikelihood_ids(encode_pairs(self.tokenizer, pairs), title)

    def loglikelihood_ids(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], title: str = "scoring"
    ) -> list[Scored]:
        """As `loglikelihood`, of ids. A context, and what many contexts begin with, is computed once.

        Args:
            pairs: (context, continuation), each at least one id. A context that does not fit is cut on the left.
            title: of the progress shown.
        """
        numbers: dict[Request, int] = {}
        which = []
        for number, (context, continuation) in enumerate(pairs):
            request, was_cut = cut(context, continuation, self.sequence_length, f"request {number}")
            self.truncated += was_cut
            which.append(numbers.setdefault(request, len(numbers)))
        nodes = forest((number, request) for request, number in numbers.items())
        found = self._run(nodes, len(numbers), title)
        return [Scored(owner, *found[number]) for owner, number in enumerate(which)]

    def loglikelihood_rolling(
        self, texts: Sequence[str], window: int | None = None, stride: int | None = None, title: str = "scoring"
    ) -> list[Scored]:
        """Log-probability of whole texts behind <|endoftext|>.

        Args:
            texts: of any length; an empty one has probability 1.
            window: tokens per window, `sequence_length` if not given.
            stride: tokens scored per window after the first, `window` if not given.
            title: of the progress shown.
        """
        length = window or self.sequence_length
        encoded = self.tokenizer.encode_batch(texts)
        windows = [
            one
            for number, ids in enumerate(encoded)
            for one in windows_of(ids, self.tokenizer.eot_id, length, stride or length, number)
        ]
        parts: list[list[Scored]] = [[] for _ in texts]
        for scored in self.token_logprobs(windows, title):
            parts[scored.owner].append(scored)
        return [_joined(number, pieces) for number, pieces in enumerate(parts)]

    def token_logprobs(self, windows: Iterable[Window], title: str = "scoring") -> Iterator[Scored]:
        """The asked tokens of each window, in order; some thousand windows are taken at a time."""
        remaining = iter(windows)
        while batch := list(islice(remaining, _WINDOWS)):
            nodes = [window_node(window, number) for number, window in enumerate(batch)]
            for window, found in zip(batch, self._run(nodes, len(batch), title), strict=True):
                yield Scored(window.owner, *found)

    def nll(self, windows: Iterable[Window]) -> Iterator[tuple[int, float]]:
        """(owner, summed negative log-likelihood in nats of the window's targets) of each window, in order."""
        for scored in self.token_logprobs(windows):
            yield scored.owner, -scored.logprob

    def nll_and_greedy(self, windows: Iterable[Window]) -> Iterator[tuple[int, float, bool]]:
        """As `nll`, and whether every target is the most likely token of its position."""
        for scored in self.token_logprobs(windows):
            yield scored.owner, -scored.logprob, scored.greedy

    def _run(self, nodes: Sequence[Node], requests: int, title: str) -> list[tuple[float, bool, list[float]]]:
        """(summed log-probability, greedy, log-probability of each token) of each request, over all ranks."""
        found: list[list[Answer]] = [[] for _ in range(requests)]
        shares = deal(nodes, self.ranks.size)

        def mine(share: Sequence[Node]) -> list[Answer]:
            total = sum(node.asked for node in share)
            with ProgressBar(title, requests, "requests") if requests >= _SHOWN else nullcontext() as bar:
                return self._answers(share, lambda done: bar.update(requests * done / total) if bar else None)

        for answers in self.ranks.share("score", shares, mine):
            for answer in answers:
                found[answer.request].append(answer)
        return [_together(answers) for answers in found]

    def _answers(self, nodes: Sequence[Node], show: Callable[[int], None] | None = None) -> list[Answer]:
        found: list[Answer] = []
        for answers in self.forward.answers(nodes):
            found += answers
            if show is not None:
                show(len(found))
        return found


def _together(answers: list[Answer]) -> tuple[float, bool, list[float]]:
    answers.sort(key=lambda answer: answer.first)
    tokens = [value for answer in answers for value in answer.logprobs]
    return sum(tokens), all(all(answer.greedy) for answer in answers), tokens


def _joined(owner: int, pieces: Sequence[Scored]) -> Scored:
    tokens = [value for piece in pieces for value in piece.tokens]
    return Scored(owner, sum(tokens), all(piece.greedy for piece in pieces), tokens)
