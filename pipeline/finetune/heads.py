"""A pretrained body with GPT-1's task head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.kernels import KernelConfig
from pipeline.config.model import ModelConfig
from pipeline.finetune.inputs import SPECIAL_TOKENS
from pipeline.model.gpt import EMBEDDING, GPT
from pipeline.model.init import STD, initialize, keyed_generator

HEAD = "score"


class Classifier(nn.Module):
    """Linear layer on the last hidden state of the extract token, beside the language model (GPT-1 3.2).

    Args:
        config: shape of the body.
        vocab_size: of the pretrained tokenizer; three special tokens are added.
        n_classes: number of labels.
        aux_lm: lambda, weight of the language-model loss; 0 switches it off.
        dropout: of the head's input.
        kernels: how the body is computed.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        n_classes: int,
        aux_lm: float,
        dropout: float,
        kernels: KernelConfig | None = None,
    ) -> None:
        super().__init__()
        # An example is one document, whatever tokens stand in it.
        one_document = config.model_copy(update={"document_mask": False})
        self.body = GPT(one_document, vocab_size + SPECIAL_TOKENS, kernels)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(config.d_model, n_classes)
        self.aux_lm = aux_lm
        self._vocab_size = vocab_size

    @torch.no_grad()
    def start_from(self, weights: dict[str, Tensor] | None, seed: int) -> None:
        """Set the initial weights.

        Args:
            weights: canonical weights of a pretrained body, or None to draw the body at random.
            seed: of all that is drawn: head and special tokens, N(0, 0.02) (GPT-1 4.1), and the body if random.
        """
        initialize(self.body, self.body.config, seed)
        if weights is not None:
            pretrained = dict(weights)
            name = f"{EMBEDDING}.weight"
            extended = self.body.embedding.weight.detach().clone()
            special = torch.empty(SPECIAL_TOKENS, extended.shape[1])
            extended[self._vocab_size :] = special.normal_(0, STD, generator=keyed_generator(seed, "special tokens"))
            extended[: self._vocab_size] = pretrained[name]
            pretrained[name] = extended
            self.body.load_state_dict(pretrained)
        self.score.weight.normal_(0, STD, generator=keyed_generator(seed, f"{HEAD}.weight"))
        self.score.bias.zero_()

    def forward(self, tokens: Tensor, targets: Tensor, extract: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Task loss + aux_lm x language-model loss: L3 of GPT-1 3.2.

        The language-model loss is the mean over each example's own tokens, then over the examples (GPT-1 code).

        Args:
            tokens: [n, time] int64.
            targets: [n, time] int64, `IGNORE` on padding.
            extract: [n] int64 positions of the extract token.
            labels: [n] int64.

        Returns:
            `loss`; sums `task_nll`, `correct` and `examples`.
        """
        hidden = self.body.hidden(tokens)
        picked = hidden[torch.arange(len(extract), device=hidden.device), extract]
        logits = self.score(self.dropout(picked)).float()
        task_nll = functional.cross_entropy(logits, labels, reduction="sum")
        loss = task_nll / len(labels)
        if self.aux_lm > 0:
            per_token = self.body.token_nll(hidden, targets)
            loss = loss + self.aux_lm * (per_token.sum(1) / extract.clamp(min=1)).mean()
        return {
            "loss": loss,
            "task_nll": task_nll.detach(),
            "correct": (logits.argmax(1) == labels).sum(),
            "examples": torch.tensor(len(labels), device=hidden.device),
        }
