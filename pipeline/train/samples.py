"""Texts that the model continues while it trains, for people to read; they decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from data_prep import store
from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.store import Cursor
from pipeline.config.schema import SamplesConfig
from pipeline.data.order import key
from pipeline.distributed import World, on_main
from pipeline.train.engine import Engine

FOLDER = "samples"


@runtime_checkable
class Speaker(Protocol):
    """An engine that tells the next token."""

    def next_logits(self, tokens: Tensor, last: Tensor) -> Tensor:
        """Logits of the token that follows a position of each row; collective, without dropout.

        Args:
            tokens: [n, time] int64; what stands behind `last` changes nothing.
            last: [n] int64 position of each row's last token.

        Returns:
            [n, vocab_size] float32 on the CPU.
        """


def draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """[n, vocab_size] logits -> [n] token ids by softmax(logits / temperature); the likeliest at temperature 0."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.double() / temperature, -1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


def continue_prompts(
    speaker: Speaker, prompts: Sequence[Sequence[int]], context: int, config: SamplesConfig
) -> list[list[int]]:
    """Ids that the model adds to each prompt; collective, the same on every rank.

    The random state of training is not touched. Every forward pass has the same shape, [prompts, context or less].

    Args:
        speaker: the model.
        prompts: ids, at least one each.
        context: longest sequence; of what is longer the model sees the end.
        config: how many tokens, temperature and seed.
    """
    texts = [list(prompt) for prompt in prompts]
    width = min(context, max(map(len, texts)) + config.tokens)
    generator = torch.Generator().manual_seed(key(config.seed, "text samples") >> 1)
    for _ in range(config.tokens):
        tokens = torch.zeros((len(texts), width), dtype=torch.int64)
        for row, text in enumerate(texts):
            seen = text[-width:]
            tokens[row, : len(seen)] = torch.tensor(seen)
        last = torch.tensor([min(len(text), width) - 1 for text in texts])
        for text, id in zip(texts, draw(speaker.next_logits(tokens, last), config.temperature, generator), strict=True):
            text.append(int(id))
    return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]


class TextSamples:
    """Continues the configured prompts.

    Args:
        config: prompts and how to continue them.
        tokenizer: content of the tokenizer.json.
        context: the model's longest sequence.
    """

    def __init__(self, config: SamplesConfig, tokenizer: bytes, context: int) -> None:
        self.config, self._context = config, context
        self._tokenizer = Tokenizer(tokenizer)
        self._prompts = self._tokenizer.encode_batch(config.prompts)

    def text(self, speaker: Speaker, cursor: Cursor, unit: str) -> str:
        """What the model makes of the prompts, as a page of text; collective."""
        added = continue_prompts(speaker, self._prompts, self._context, self.config)
        settings = f"temperature {self.config.temperature:g}, seed {self.config.seed}"
        lines = [f"step {cursor.step}, {cursor.consumed:,} {unit}; {settings}"]
        for prompt, ids in zip(self.config.prompts, added, strict=True):
            lines += ["", "-" * 80, f"{prompt}[...]{self._tokenizer.decode(ids)}"]
        return "\n".join(lines) + "\n"

    @staticmethod
    def fits(engine: Engine) -> bool:
        """Whether an engine can tell the next token."""
        return isinstance(engine, Speaker)

    def write(self, engine: Engine, run_dir: Path, world: World, cursor: Cursor, unit: str) -> str:
        """Write the page of a step into the run folder, whose relative path is returned; collective."""
        assert isinstance(engine, Speaker)
        page, name = self.text(engine, cursor, unit), f"{FOLDER}/step_{cursor.step:08d}.txt"
        on_main(world, lambda: store.write_bytes(str(run_dir / name), page.encode()))
        return name
