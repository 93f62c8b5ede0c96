"""The GPT family as one ordered list of layers.

`layout(config, vocab_size)` is the model: an ordered list of (canonical name, builder). `GPT` runs the list as one
module. Every layer is called with the hidden states [batch, time, d_model] of the one before (the first with tokens)
and with document numbers [batch, time] or None, and returns hidden states. For generation and scoring they also take a
`Reading` of a cache, which stands for the tokens before and for the documents. The output head is the token embedding
(tied), applied inside `lm_loss`. Canonical names follow Hugging Face's GPT-2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.kernels import KernelConfig
from pipeline.config.model import ModelConfig
from pipeline.model.attention import SelfAttention
from pipeline.model.cache import Cache, Memory, Reading
from pipeline.model.loss import head_logits, lm_loss, token_nll
from pipeline.model.lstm import LSTMLayer, Projection
from pipeline.model.parts import PLAIN, Parts, TokenEmbedding, mark_rows

NORM_EPS = 1e-5
"""GPT-1 and GPT-2 code."""


def document_numbers(tokens: Tensor, end: int) -> Tensor:
    """[batch, time] int64 token ids -> [batch, time] int32 numbers of the documents they belong to, 0 first.

    The id `end` is the last token of a document.
    """
    ends = (tokens == end).int()
    return ends.cumsum(1, dtype=torch.int32) - ends


def documents_of(config: ModelConfig, vocab_size: int, tokens: Tensor) -> Tensor | None:
    """Document numbers for the layers: those of `document_numbers` with `document_mask`, else None.

    <|endoftext|>, the last id of a vocabulary, ends a document.
    """
    return document_numbers(tokens, vocab_size - 1) if config.document_mask else None


class PositionEmbedding(nn.Module):
    """Adds learned positions and applies embedding dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.sequence_length, config.d_model))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, documents: Tensor | None = None, reading: Reading | None = None) -> Tensor:
        """Positions 0, 1, ... are added to [batch, time, d_model]; they restart at each document."""
        time = hidden.shape[1]
        if reading is not None:
            positions = functional.embedding(reading.positions, self.weight)
        elif documents is None:
            positions = self.weight[:time]
        else:
            index = torch.arange(time, device=hidden.device).expand_as(documents)
            starts = torch.zeros_like(index)
            starts[:, 1:] = torch.where(documents[:, 1:] != documents[:, :-1], index[:, 1:], 0)
            positions = functional.embedding(index - starts.cummax(1).values, self.weight)
        out: Tensor = self.dropout(hidden + positions)
        return out


class FeedForward(nn.Module):
    """Two linear layers with the tanh form of GELU between them (GPT-1 and GPT-2 code), 4 d_model wide."""

    def __init__(self, config: ModelConfig, parts: Parts = PLAIN) -> None:
        super().__init__()
        self.c_fc = parts.column(config.d_model, 4 * config.d_model)
        self.c_proj = parts.row(4 * config.d_model, config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, time, d_model] -> the same shape."""
        out: Tensor = self.dropout(self.c_proj(functional.gelu(self.c_fc(hidden), approximate="tanh")))
        return out


class Block(nn.Module):
    """Attention and feed-forward with residual connections.

    Norm before each branch (GPT-2 2.3) or after each addition (GPT-1 3.1).
    """

    def __init__(
        self, config: ModelConfig, index: int, parts: Parts = PLAIN, kernels: KernelConfig | None = None
    ) -> None:
        super().__init__()
        self.norm_first = config.norm == "pre"
        self.ln_1 = nn.LayerNorm(config.d_model, eps=NORM_EPS)
        self.attn = SelfAttention(config, index, parts, kernels)
        self.ln_2 = nn.LayerNorm(config.d_model, eps=NORM_EPS)
        self.mlp = FeedForward(config, parts)

    def forward(self, hidden: Tensor, documents: Tensor | None = None, reading: Reading | None = None) -> Tensor:
        """[batch, time, d_model] -> the same shape."""
        if self.norm_first:
            hidden = hidden + self.attn(self.ln_1(hidden), documents, reading)
            hidden = hidden + self.mlp(self.ln_2(hidden))
            return hidden
        hidden = self.ln_1(hidden + self.attn(hidden, documents, reading))
        hidden = self.ln_2(hidden + self.mlp(hidden))
        return hidden


class FinalNorm(nn.LayerNorm):
    """The norm after the last block (GPT-2 2.3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.d_model, eps=NORM_EPS)

    def forward(self, hidden: Tensor, documents: Tensor | None = None, reading: Reading | None = None) -> Tensor:
        """[batch, time, d_model] -> the same shape."""
        return super().forward(hidden)


@dataclass(frozen=True)
class Layer:
    """One entry of the layout: canonical name of the module, and how to build it."""

    name: str
    build: Callable[[], nn.Module]


EMBEDDING = "transformer.wte"


def layout(
    config: ModelConfig, vocab_size: int, parts: Parts = PLAIN, kernels: KernelConfig | None = None
) -> list[Layer]:
    """The model as an ordered list of layers, each taking the output of the one before.

    Args:
        config: the shape.
        vocab_size: number of token ids; the embedding has `config.padded(vocab_size)` rows.
        parts: where matrices that tensor parallelism may split come from.
        kernels: how it is computed.
    """

    def embedding() -> nn.Module:
        module = parts.embedding(config.padded(vocab_size), config.d_model)
        mark_rows(module.get_parameter("weight"), vocab_size)
        return module

    if config.kind == "lstm":
        lstm = [Layer(f"transformer.h.{index}", partial(LSTMLayer, config, index)) for index in range(config.n_layer)]
        projection = [Layer("transformer.proj", partial(Projection, config))] * (config.lstm_units != config.d_model)
        return [Layer(EMBEDDING, embedding), *lstm, *projection]

    def block(index: int) -> Layer:
        return Layer(f"transformer.h.{index}", lambda: Block(config, index, parts, kernels))

    layers = [
        Layer(EMBEDDING, embedding),
        Layer("transformer.wpe", lambda: PositionEmbedding(config)),
        *(block(index) for index in range(config.n_layer)),
    ]
    if config.norm == "pre":
        layers.append(Layer("transformer.ln_f", lambda: FinalNorm(config)))
    return layers


def _attach(root: nn.Module, dotted: str, module: nn.Module) -> None:
    *path, last = dotted.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.add_module(last, module)


class GPT(nn.Module):
    """The layout as one module, for ZeRO and for a single process.

    Args:
        config: the shape.
        vocab_size: number of token ids.
        kernels: how it is computed.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, kernels: KernelConfig | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self._loss_chunk = kernels.loss_chunk if kernels is not None else 0
        layers = layout(config, vocab_size, PLAIN, kernels)
        for layer in layers:
            _attach(self, layer.name, layer.build())
        self._order = [layer.name for layer in layers]

    @property
    def embedding(self) -> TokenEmbedding:
        """The token embedding, which is also the output head."""
        module = self.get_submodule(EMBEDDING)
        assert isinstance(module, TokenEmbedding)
        return module

    def hidden(self, tokens: Tensor) -> Tensor:
        """[batch, time] int64 -> last hidden states [batch, time, d_model]."""
        documents = documents_of(self.config, self.vocab_size, tokens)
        state = tokens
        for name in self._order:
            state = self.get_submodule(name)(state, documents)
        return state

    def cache(self, rows: int) -> Cache:
        """An empty cache for so many sequences."""
        end = self.vocab_size - 1 if self.config.document_mask else None
        return Cache(rows, self.embedding.weight.device, end)

    def read(self, tokens: Tensor, lengths: Tensor, cache: Memory, keep: bool = True) -> Tensor:
        """Last hidden states of tokens that go on from what a cache holds, which then holds them too.

        Args:
            tokens: [rows, time] int64, padded on the right.
            lengths: [rows] int64, how many of them are no padding.
            cache: of `cache`, a branch of such a one, or several joined; no row may grow beyond `sequence_length`.
            keep: whether the cache is needed any more.

        Returns:
            [rows, time, d_model], of no meaning where the tokens are padding.
        """
        reading = cache.read(tokens, lengths, keep)
        state = tokens
        for name in self._order:
            state = self.get_submodule(name)(state, None, reading)
        reading.done()
        return state

    def logits(self, tokens: Tensor) -> Tensor:
        """[batch, time] int64 -> [batch, time, vocab_size] float32."""
        return head_logits(self.hidden(tokens), self.embedding.weight, self.vocab_size)

    def token_nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """`pipeline.model.loss.token_nll` of last hidden states under this model's head."""
        return token_nll(hidden, self.embedding.weight, targets, self.vocab_size, self._loss_chunk)

    def forward(self, tokens: Tensor, targets: Tensor | None = None, last: Tensor | None = None) -> dict[str, Tensor]:
        """Language-model loss, or what follows.

        Args:
            tokens: [batch, time] int64.
            targets: [batch, time] int64, the token that follows each position; `IGNORE` where nothing is asked.
            last: instead of targets, [batch] int64 positions whose next token is asked for.

        Returns:
            With targets, `loss`: mean over the asked positions (nats per token), to be differentiated; `nll` and
            `targets`: the sums behind it. With positions, `logits`: [batch, vocab_size] float32.
        """
        hidden = self.hidden(tokens)
        if targets is None:
            assert last is not None
            asked = hidden[torch.arange(len(last), device=last.device), last]
            return {"logits": head_logits(asked, self.embedding.weight, self.vocab_size)}
        # ZeRO-3 gathers the weight when it is looked up, and has given it back after the embedding layer.
        nll, count = lm_loss(hidden, self.embedding.weight, targets, self.vocab_size, self._loss_chunk)
        return {"loss": nll / count.clamp(min=1), "nll": nll.detach(), "targets": count}
