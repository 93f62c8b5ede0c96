"""A checkpoint as a scorer: log-probabilities of tokens, independent of batch size and padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional

from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.language_model import language_model
from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import TOKENIZER, open_checkpoint
from pipeline.model.gpt import GPT
from pipeline.model.loss import IGNORE, token_nll


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


class Scorer:
    """A pretrained model for scoring, in fp32, without DeepSpeed.

    Args:
        checkpoint: folder of a pretraining checkpoint.
        batch_size: windows per forward pass.

    Raises:
        UserError: the checkpoint is missing, damaged or not a language model.
    """

    def __init__(self, checkpoint: str, batch_size: int) -> None:
        folder, self.manifest = open_checkpoint(checkpoint)
        model = GPT(*language_model(self.manifest, dropout=0.0, where=checkpoint))
        model.load_state_dict(read_weights(folder, self.manifest))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = Tokenizer.load(str(folder / TOKENIZER))
        self.model = model.to(self.device).eval()
        self.sequence_length = self.model.config.sequence_length
        self._batch_size = batch_size

    @torch.no_grad()
    def nll(self, windows: Iterable[Window]) -> Iterator[tuple[int, float]]:
        """(owner, summed negative log-likelihood in nats of the window's targets) of each window, in order."""
        for batch, hidden, targets in self._forward(windows):
            for window, score in zip(batch, self._nll(hidden, targets), strict=True):
                yield window.owner, score

    @torch.no_grad()
    def nll_and_greedy(self, windows: Iterable[Window]) -> Iterator[tuple[int, float, bool]]:
        """As `nll`, and whether every target is the most likely token of its position."""
        for batch, hidden, targets in self._forward(windows):
            asked = targets != IGNORE
            best = functional.linear(hidden[asked], self.model.embedding.weight).argmax(-1)
            missed = torch.zeros_like(targets)
            missed[asked] = (best != targets[asked]).long()
            rows = zip(batch, self._nll(hidden, targets), (missed.sum(1) == 0).tolist(), strict=True)
            for window, score, greedy in rows:
                yield window.owner, score, greedy

    def _nll(self, hidden: Tensor, targets: Tensor) -> list[float]:
        scores: list[float] = token_nll(hidden, self.model.embedding.weight, targets).double().sum(1).tolist()
        return scores

    def _forward(self, windows: Iterable[Window]) -> Iterator[tuple[list[Window], Tensor, Tensor]]:
        """Batches of windows with their hidden states [batch, time, d_model] and targets [batch, time]."""
        for batch in _batches(windows, self._batch_size):
            longest = max(len(window.tokens) for window in batch)
            # Padding stands on the right, where causal attention never looks.
            tokens = torch.zeros((len(batch), longest), dtype=torch.int64)
            targets = torch.full((len(batch), longest), IGNORE, dtype=torch.int64)
            for row, window in enumerate(batch):
                tokens[row, : len(window.tokens)] = torch.tensor(window.tokens)
                targets[row, : len(window.targets)] = torch.tensor(window.targets)
            yield batch, self.model.hidden(tokens.to(self.device)), targets.to(self.device)


def _batches(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    remaining = iter(windows)
    while batch := list(islice(remaining, size)):
        yield batch
