"""An evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_prep.configfile import Settings
from pipeline.config.evaluate_memorization import MemorizationConfig
from pipeline.config.evaluate_suite import SuiteConfig
from pipeline.config.fields import Positive
from pipeline.config.run import RunConfig, TrackingConfig


class PerplexityConfig(Settings):
    """Held-out perplexity.

    Attributes:
        path: token dataset whose validation split is scored.
        documents: at most this many, from the first on.
        stride: tokens scored per window; the rest of the window is context. `sequence_length` if not given.
    """

    path: str
    documents: Positive = 200
    stride: Positive | None = None


class ChoiceConfig(Settings):
    """Multiple choice by likelihood per token (GPT-3 2.4).

    Attributes:
        name: as shown in tables.
        path: JSONL file, rows {"context", "choices", "answer"}.
        examples: at most this many, from the first on.
    """

    name: str = Field(min_length=1)
    path: str
    examples: Positive = 1000


class HarnessConfig(Settings):
    """Tasks of EleutherAI's lm-evaluation-harness, from YAML files on this machine.

    Attributes:
        tasks: names of tasks, groups or tags that the YAML files define.
        include_path: folder of the task YAMLs; keep their data files in it, so that changed data is noticed.
        limit: at most this many documents of each task, for trying things out: the scores are no result then.
    """

    tasks: Annotated[list[str], Field(min_length=1)]
    include_path: str
    limit: Positive | None = None


class EvaluateConfig(Settings):
    """An evaluation of one checkpoint.

    Attributes:
        checkpoint: folder of a pretraining checkpoint, or of a Hugging Face model (GPT-2, OpenAI GPT).
        batch_tokens: tokens per forward pass, padding and cached ones included; it does not change the numbers.
        against: folder of another evaluation run; tasks of the suite that both have scored are compared pair by pair.
    """

    run: RunConfig
    checkpoint: str
    batch_tokens: Positive = 8192
    perplexity: PerplexityConfig | None = None
    choice: ChoiceConfig | None = None
    harness: HarnessConfig | None = None
    suite: SuiteConfig | None = None
    against: str | None = None
    memorization: MemorizationConfig | None = None
    tracking: TrackingConfig = TrackingConfig()
