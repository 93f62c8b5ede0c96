"""What an evaluation asks about the training text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative, Positive


class MemorizationConfig(Settings):
    """Memorised or reasoned.

    Attributes:
        corpus: token dataset that the model was trained on. Tasks of the suite are compared with its documents.
        documents: training documents that overlap is looked for in, from the first on; None for all.
        passages: training passages to complete, of each number of copies; 0 for none.
        prefix: tokens of a passage that the model is given.
        continuation: tokens that it has to write word by word.
        samples: texts that the model writes, whose longest part that stands in the training text is looked for.
        sample_tokens: length of each.
        top_k: tokens that the samples are drawn from; 0 for all.
        seed: of passages and samples.
    """

    corpus: str
    documents: Positive | None = None
    passages: NotNegative = 100
    prefix: Positive = 50
    continuation: Positive = 50
    samples: NotNegative = 0
    sample_tokens: Annotated[int, Field(ge=8)] = 256
    top_k: NotNegative = 40
    seed: int = 1234
