"""A checkpoint as a scorer: log-probabilities of tokens, independent of batch size and padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.store import TOKENIZER, WEIGHTS, CheckpointManifest, open_checkpoint
from pipeline.config.schema import ModelConfig
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
        if self.manifest.kind != "pretrain":
            raise UserError(
                f"this checkpoint was written by {self.manifest.kind}", where=checkpoint, fix="give a pretraining one"
            )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = Tokenizer.load(str(folder / TOKENIZER))
        self.model = load_gpt(self.manifest, load_file(folder / WEIGHTS)).to(self.device).eval()
        self.sequence_length = self.model.config.sequence_length
        self._batch_size = batch_size

    @torch.no_grad()
    def nll(self, windows: Iterator[Window]) -> Iterator[tuple[int, float]]:
        """(owner, summed negative log-likelihood in nats of the window's targets) of each window, in order."""
        batch: list[Window] = []
        for window in windows:
            batch.append(window)
            if len(batch) == self._batch_size:
                yield from self._score(batch)
                batch = []
        if batch:
            yield from self._score(batch)

    def _score(self, batch: list[Window]) -> Iterator[tuple[int, float]]:
        longest = max(len(window.tokens) for window in batch)
        # Padding stands on the right, where causal attention never looks.
        tokens = torch.zeros((len(batch), longest), dtype=torch.int64)
        targets = torch.full((len(batch), longest), IGNORE, dtype=torch.int64)
        for row, window in enumerate(batch):
            tokens[row, : len(window.tokens)] = torch.tensor(window.tokens)
            targets[row, : len(window.targets)] = torch.tensor(window.targets)
        tokens, targets = tokens.to(self.device), targets.to(self.device)
        scores = token_nll(self.model.hidden(tokens), self.model.embedding.weight, targets).double().sum(1)
        for window, score in zip(batch, scores.tolist(), strict=True):
            yield window.owner, score


def load_gpt(manifest: CheckpointManifest, weights: dict[str, torch.Tensor]) -> GPT:
    """The plain module of a pretraining checkpoint, dropout off."""
    shape = dict(manifest.model)
    vocab_size = int(shape.pop("vocab_size"))
    model = GPT(ModelConfig.model_validate({**shape, "dropout": 0.0}), vocab_size)
    model.load_state_dict(weights)
    return model
