"""Hidden states of a language model whose weights stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.config.features import HiddenConfig
from pipeline.config.finetune import InitConfig
from pipeline.config.task_data import Kind
from pipeline.features.examples import Dense
from pipeline.finetune.examples import Encoded
from pipeline.finetune.heads import TaskModel
from pipeline.finetune.inputs import NO_ROW
from pipeline.finetune.origin import Origin, start_weights
from pipeline.finetune.scores import batches_by_length
from pipeline.finetune.task import Example
from pipeline.model.gpt import layout


class FrozenBody:
    """The body of a language model for its hidden states, in fp32.

    Args:
        origin: the model.
        init: which of its weights are taken.
        seed: of what is drawn.
        settings: layer, pooling, batch size.

    Attributes:
        length: tokens of context.
        read: texts until now; with the pooling `extract`, examples.
        cut: those of them that were cut to the context.

    Raises:
        UserError: the model has not so many blocks.
    """

    def __init__(self, origin: Origin, init: InitConfig, seed: int, settings: HiddenConfig) -> None:
        shape = origin.shape
        if settings.layer is not None and settings.layer > shape.n_layer:
            raise UserError(
                f"the model has {shape.n_layer} blocks, fewer than {settings.layer}",
                where="hidden.layer",
                fix=f"give a number from 0 to {shape.n_layer}",
            )
        model = TaskModel(shape, origin.vocab_size, "classification", "label", 1, 0.0, 0.0)
        model.start_from(start_weights(origin, init), seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._body = model.body.to(self.device).eval()
        names = [layer.name for layer in layout(shape, self._body.vocab_size)]
        if settings.layer is not None:
            last = max(i for i, name in enumerate(names) if _block_of(name) < settings.layer)
            names = names[: last + 1]
        self._layers, self._settings = names, settings
        self._tokenizer, self.length = Tokenizer(origin.tokenizer, str(origin.folder)), shape.sequence_length
        self.read = self.cut = 0

    def embed(self, texts: Sequence[str]) -> Dense:
        """[texts, width] float32: the pooled states of each text, read after <|endoftext|> and cut to the context.

        The width is d_model; within an LSTM, its units.
        """
        whole = self._tokenizer.encode_batch(list(texts))
        ids = [one[: self.length - 1] for one in whole]
        self.read += len(ids)
        self.cut += sum(len(one) >= self.length for one in whole)
        order = np.argsort([-len(one) for one in ids], kind="stable")
        found: Dense | None = None
        for start in range(0, len(order), self._settings.batch_size):
            numbers = order[start : start + self._settings.batch_size]
            lengths = torch.tensor([1 + len(ids[number]) for number in numbers])
            tokens = torch.full((len(numbers), int(lengths.max())), self._tokenizer.eot_id)
            for row, number in enumerate(numbers):
                tokens[row, 1 : lengths[row]] = torch.tensor(ids[number], dtype=torch.int64)
            pooled = self._pooled(self._states(tokens), lengths.to(self.device)).cpu().numpy()
            if found is None:
                found = np.empty((len(ids), pooled.shape[1]), np.float32)
            found[numbers] = pooled
        assert found is not None
        return found

    def extract(self, examples: Sequence[Example], kind: Kind) -> Dense:
        """[rows, width] float32: states of the extract token of the inputs of fine-tuning, as its head reads them."""
        encoded = Encoded([example.texts for example in examples], kind, self._tokenizer, self.length)
        self.read += len(encoded)
        self.cut += int(encoded.cut.sum())
        parts: dict[int, Dense] = {}
        for numbers in batches_by_length(encoded, self._settings.batch_size):
            batch = {name: value.to(self.device) for name, value in encoded.batch(numbers).items()}
            states = self._states(batch["tokens"])
            picked = states[torch.arange(len(states), device=self.device), batch["extract"]]
            for number, rows in zip(numbers.tolist(), batch["rows"], strict=True):
                own = picked[rows[rows != NO_ROW]]
                parts[number] = (own.sum(0, keepdim=True) if kind == "similarity" else own).cpu().numpy()
        return np.concatenate([parts[number] for number in range(len(examples))])

    @torch.no_grad()
    def _states(self, tokens: Tensor) -> Tensor:
        state = tokens.to(self.device)
        for name in self._layers:
            state = self._body.get_submodule(name)(state, None)
        return state

    def _pooled(self, states: Tensor, lengths: Tensor) -> Tensor:
        """[n, time, d_model] states and [n] lengths, <|endoftext|> in front included -> [n, width]."""
        rows = torch.arange(len(states), device=states.device)
        if self._settings.pooling == "last":
            return states[rows, lengths - 1]
        place = torch.arange(states.shape[1], device=states.device)
        # The token in front counts only where there is no other.
        counts = (place > 0) & (place < lengths[:, None]) | (lengths[:, None] == 1) & (place == 0)
        weights = counts / counts.sum(1, keepdim=True)
        return torch.einsum("nt,ntd->nd", weights, states)


def _block_of(name: str) -> int:
    """Number of a block; -1 for the embeddings, and more than any for what follows the blocks."""
    if name in ("transformer.wte", "transformer.wpe"):
        return -1
    prefix, _, number = name.rpartition(".")
    return int(number) if prefix == "transformer.h" else 1 << 30
