"""The GPT family as one ordered list of layers.

`layout(config, vocab_size)` is the model: an ordered list of (canonical name, builder). `GPT` runs the list as one
module. Every layer maps the hidden states [batch, time, d_model] to the next; the output head is the token embedding
(tied), applied inside `lm_loss`. Canonical names follow Hugging Face's GPT-2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.schema import ModelConfig
from pipeline.model.attention import SelfAttention
from pipeline.model.loss import lm_loss

NORM_EPS = 1e-5
"""GPT-1 and GPT-2 code."""


class TokenEmbedding(nn.Module):
    """[batch, time] int64 token ids -> [batch, time, d_model]; its weight is also the output head."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))

    def forward(self, tokens: Tensor) -> Tensor:
        """Look the tokens up."""
        return functional.embedding(tokens, self.weight)


class PositionEmbedding(nn.Module):
    """Adds learned positions and applies embedding dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.sequence_length, config.d_model))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Positions 0, 1, ... are added to [batch, time, d_model]."""
        out: Tensor = self.dropout(hidden + self.weight[: hidden.shape[1]])
        return out


class FeedForward(nn.Module):
    """Two linear layers with the tanh form of GELU between them (GPT-1 and GPT-2 code), 4 d_model wide."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.d_model, 4 * config.d_model)
        self.c_proj = nn.Linear(4 * config.d_model, config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, time, d_model] -> the same shape."""
        out: Tensor = self.dropout(self.c_proj(functional.gelu(self.c_fc(hidden), approximate="tanh")))
        return out


class Block(nn.Module):
    """Attention and feed-forward with residual connections.

    Norm before each branch (GPT-2 2.3) or after each addition (GPT-1 3.1).
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.norm_first = config.norm == "pre"
        self.ln_1 = nn.LayerNorm(config.d_model, eps=NORM_EPS)
        self.attn = SelfAttention(config, index)
        self.ln_2 = nn.LayerNorm(config.d_model, eps=NORM_EPS)
        self.mlp = FeedForward(config)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, time, d_model] -> the same shape."""
        if self.norm_first:
            hidden = hidden + self.attn(self.ln_1(hidden))
            hidden = hidden + self.mlp(self.ln_2(hidden))
            return hidden
        hidden = self.ln_1(hidden + self.attn(hidden))
        hidden = self.ln_2(hidden + self.mlp(hidden))
        return hidden


class FinalNorm(nn.LayerNorm):
    """The norm after the last block (GPT-2 2.3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.d_model, eps=NORM_EPS)


@dataclass(frozen=True)
class Layer:
    """One entry of the layout: canonical name of the module, and how to build it."""

    name: str
    build: Callable[[], nn.Module]


EMBEDDING = "transformer.wte"


def layout(config: ModelConfig, vocab_size: int) -> list[Layer]:
    """The model as an ordered list of layers, each taking the output of the one before."""

    def block(index: int) -> Layer:
        return Layer(f"transformer.h.{index}", lambda: Block(config, index))

    layers = [
        Layer(EMBEDDING, lambda: TokenEmbedding(vocab_size, config.d_model)),
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
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        layers = layout(config, vocab_size)
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
        state = tokens
        for name in self._order:
            state = self.get_submodule(name)(state)
        return state

    def logits(self, tokens: Tensor) -> Tensor:
        """[batch, time] int64 -> [batch, time, vocab_size] float32."""
        return functional.linear(self.hidden(tokens), self.embedding.weight).float()

    def forward(self, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Language-model loss.

        Args:
            tokens: [batch, time] int64.
            targets: [batch, time] int64, the token that follows each position; `IGNORE` where nothing is asked.

        Returns:
            `loss`: mean over the asked positions (nats per token), to be differentiated; `nll` and `targets`: the sums
            behind it.
        """
        nll, count = lm_loss(self.hidden(tokens), self.embedding.weight, targets)
        return {"loss": nll / count.clamp(min=1), "nll": nll.detach(), "targets": count}
