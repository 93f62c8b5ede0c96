"""A pretrained body with GPT-1's task head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.config.kernels import KernelConfig
from pipeline.config.model import ModelConfig
from pipeline.config.task_data import Kind, Target
from pipeline.finetune.inputs import NO_ROW, SPECIAL_TOKENS
from pipeline.finetune.objective import combine, task_loss
from pipeline.model.gpt import EMBEDDING, GPT
from pipeline.model.init import STD, initialize, keyed_generator

BODY, HEAD = "body.", "score."
"""Prefixes of a fine-tuned model's parameters."""


class TaskModel(nn.Module):
    """A linear layer on the last hidden state of the extract token, beside the language model (GPT-1 3.2, 3.3).

    Args:
        config: shape of the body.
        vocab_size: of the pretrained tokenizer; three special tokens are added.
        kind: form of the inputs.
        target: what is asked for.
        outputs: number of classes; 1 for a score or a choice.
        aux_lm: lambda, weight of the language-model loss; at 0 it is not computed.
        dropout: of the head's input.
        kernels: how the body is computed.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        kind: Kind,
        target: Target,
        outputs: int,
        aux_lm: float,
        dropout: float,
        kernels: KernelConfig | None = None,
    ) -> None:
        super().__init__()
        # An example is one document, whatever tokens stand in it.
        one_document = config.model_copy(update={"document_mask": False})
        self.body = GPT(one_document, vocab_size + SPECIAL_TOKENS, kernels)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(config.d_model, outputs)
        self.kind, self.target, self.aux_lm = kind, target, aux_lm

    @torch.no_grad()
    def start_from(self, weights: Mapping[str, Tensor], seed: int) -> None:
        """Set the initial weights.

        Args:
            weights: canonical name -> weight of what is taken over of a pretrained body; token embeddings may have the
                rows of the special tokens or not.
            seed: of all that is drawn: head, special tokens and what else is not given, N(0, 0.02) (GPT-1 4.1).
        """
        initialize(self.body, self.body.config, seed)
        own = dict(self.body.named_parameters())
        vocab_size = self.body.vocab_size
        special = own[f"{EMBEDDING}.weight"][vocab_size - SPECIAL_TOKENS : vocab_size]
        drawn = torch.empty(special.shape, device="cpu")
        special.copy_(drawn.normal_(0, STD, generator=keyed_generator(seed, "special tokens")))
        for name, value in weights.items():
            if name == f"{EMBEDDING}.weight":
                own[name][: len(value)].copy_(value)
            else:
                own[name].copy_(value)
        self.score.weight.normal_(0, STD, generator=keyed_generator(seed, f"{HEAD}weight"))
        self.score.bias.zero_()

    def forward(
        self,
        tokens: Tensor,
        extract: Tensor,
        rows: Tensor,
        labels: Tensor | None = None,
        asked: Tensor | None = None,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Scores, or the loss and its sums.

        Args:
            tokens: [sequences, time] int64.
            extract: [sequences] int64, position of the extract token.
            rows: [n, most sequences of an example] int64, numbers of an example's sequences, or `NO_ROW`.
            labels: [n] int64, or float32 for a score; none to ask for scores.
            asked: [m] int64 positions of the language-model loss; it, `targets` and `weights` as `language_targets`
                gives them, only with an `aux_lm` above 0.
            targets: [m] int64.
            weights: [m] float32.

        Returns:
            Without labels, `scores`: [n, classes or candidates] float32, -inf for candidates that are none. With
            labels, what `combine` returns, and the sum `correct` unless a score is asked for.
        """
        hidden = self.body.hidden(tokens)
        scores = self._scores(hidden[torch.arange(len(extract), device=hidden.device), extract], rows)
        if labels is None:
            return {"scores": scores}
        language = None
        if asked is not None:
            assert targets is not None and weights is not None
            # Padding is left out before the head, which is what costs.
            states = hidden.flatten(0, 1).index_select(0, asked)
            language = (self.body.token_nll(states[None], targets[None])[0] * weights).sum()
        out = combine(task_loss(scores, labels, self.target), language, self.aux_lm)
        if self.target == "label":
            out["correct"] = (scores.argmax(1) == labels).sum()
        return out

    def _scores(self, extracted: Tensor, rows: Tensor) -> Tensor:
        """[sequences, d_model] hidden states -> [n, classes or candidates] float32."""
        if self.kind == "choice":
            features = extracted[rows.clamp(min=0)]
            # One mask for all candidates of an example (GPT-1 code).
            features = features * self.dropout(torch.ones_like(features[:, :1]))
            scores: Tensor = self.score(features)[..., 0].float()
            return scores.masked_fill(rows == NO_ROW, -torch.inf)
        features = extracted[rows].sum(1) if self.kind == "similarity" else extracted
        scores = self.score(self.dropout(features)).float()
        return scores
