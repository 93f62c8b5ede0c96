"""What a training run is: every setting, its type and its bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Count, Settings
from pipeline.config.deepspeed import check_owned_keys

Positive = Annotated[Count, Field(gt=0)]
NotNegative = Annotated[Count, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class RunConfig(Settings):
    """Where a run writes and what makes it repeatable.

    Attributes:
        name: folder name under `dir`, and run name in MLflow.
        dir: folder that holds all runs.
        seed: of initial weights, sample order and dropout.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    dir: str = "runs"
    seed: int = 1234


class ModelConfig(Settings):
    """Shape of a GPT.

    Attributes:
        n_layer: number of blocks.
        n_head: attention heads per block.
        d_model: width of the residual stream.
        d_head: width of a head; d_model / n_head if not given.
        sequence_length: tokens of context, and learned positions.
        norm: "pre" (GPT-2, GPT-3; a final norm follows the blocks) or "post" (GPT-1).
        attention: "dense", or "alternating": even blocks dense, odd blocks see `band_width` tokens back (GPT-3 2.1).
        band_width: tokens a banded block sees, itself included; GPT-3 does not publish it.
        dropout: probability for embeddings, attention weights and residual branches.
        position_std: standard deviation of initial position embeddings.
    """

    n_layer: Positive
    n_head: Positive
    d_model: Positive
    d_head: Positive | None = None
    sequence_length: Positive
    norm: Literal["pre", "post"] = "pre"
    attention: Literal["dense", "alternating"] = "dense"
    band_width: Positive = 256
    dropout: Share = 0.0
    position_std: Annotated[float, Field(gt=0)] = 0.01

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_head is None and self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}: set d_head")
        return self

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.d_head or self.d_model // self.n_head


class DataConfig(Settings):
    """The token dataset, or several.

    Attributes:
        path: folder made by `data-prep run` (it holds manifest.json), or a mixture made by `data-prep mix` (*.json).
        verify: hash every shard before training.
    """

    path: str
    verify: bool = True


class BatchConfig(Settings):
    """In which pieces is trained.

    Attributes:
        global_batch: samples per optimizer step.
        micro_batch: samples per rank and forward pass.
        log_every: steps between log lines.
    """

    global_batch: Positive
    micro_batch: Positive
    log_every: Positive = 10


class PretrainBatchConfig(BatchConfig):
    """A sample is a window of `model.sequence_length` tokens.

    Attributes:
        tokens: tokens to train on in all; rounded up to whole steps.
    """

    tokens: Positive


class FinetuneBatchConfig(BatchConfig):
    """A sample is a labelled example.

    Attributes:
        epochs: passes over the training examples; rounded up to whole steps.
    """

    epochs: Annotated[float, Field(gt=0)]


class OptimizerConfig(Settings):
    """AdamW. Weight decay applies to tensors of two and more dimensions (GPT-1's released code).

    Attributes:
        lr: peak learning rate.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: decoupled.
        grad_clip: largest global gradient norm; 0 switches clipping off.
    """

    lr: Annotated[float, Field(gt=0)]
    betas: tuple[Share, Share] = (0.9, 0.95)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    grad_clip: Annotated[float, Field(ge=0)] = 1.0


class ScheduleConfig(Settings):
    """Learning rate as a function of what was consumed.

    Attributes:
        kind: shape of the decay from the peak.
        final_ratio: learning rate at the end of the decay, as a share of the peak.
    """

    kind: Literal["cosine", "linear", "constant"] = "cosine"
    final_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1

    def bounds(self, total: int) -> tuple[int, int]:
        """(end of the linear warm-up, end of the decay) in consumed units, for a run of `total` units."""
        return 0, total


class PretrainScheduleConfig(ScheduleConfig):
    """Measured in tokens.

    Attributes:
        warmup_tokens: linear rise from 0.
        decay_tokens: where the decay ends; the end of the run if not given. Constant from there on.
    """

    warmup_tokens: NotNegative = 0
    decay_tokens: Positive | None = None

    def bounds(self, total: int) -> tuple[int, int]:
        """(end of the linear warm-up, end of the decay) in tokens."""
        return self.warmup_tokens, self.decay_tokens or total


class FinetuneScheduleConfig(ScheduleConfig):
    """Measured in shares of the run.

    Attributes:
        warmup_share: linear rise from 0 over this share of the run.
    """

    warmup_share: Share = 0.002

    def bounds(self, total: int) -> tuple[int, int]:
        """(end of the linear warm-up, end of the decay) in examples."""
        return round(self.warmup_share * total), total


class ValidationConfig(Settings):
    """Validation on fixed examples, the same for every topology.

    Attributes:
        every: steps between validations; the last step is always validated.
    """

    every: Positive = 100


class PretrainValidationConfig(ValidationConfig):
    """Validation loss over fixed windows.

    Attributes:
        tokens: at most this many tokens from the start of the validation split.
    """

    tokens: Positive = 1_000_000


class CheckpointConfig(Settings):
    """When checkpoints are written and how many are kept.

    Attributes:
        every: steps between checkpoints; the last step always gets one.
        keep_last: checkpoints kept.
    """

    every: Positive = 100
    keep_last: Positive = 2


class ParallelConfig(Settings):
    """How the model is spread over ranks.

    Attributes:
        zero_stage: ZeRO stage. Stage 0 is not offered: with bf16 it changes the first step, and stage 1 on one rank
            is the same training.
    """

    zero_stage: Literal[1, 2, 3] = 1


class TrackingConfig(Settings):
    """Where metrics go besides the run folder.

    Attributes:
        mlflow: whether MLflow is told at all.
        uri: tracking server; the environment's MLFLOW_TRACKING_URI wins; else a database in `run.dir`.
        experiment: name of the MLflow experiment.
    """

    mlflow: bool = True
    uri: str | None = None
    experiment: str = "webtext"


class EngineConfig(Settings):
    """Settings that pretraining and fine-tuning share.

    Attributes:
        precision: "fp32", or "bf16" with fp32 master weights and fp32 gradient accumulation.
        deepspeed: carried verbatim into DeepSpeed's configuration, except for the keys that this schema owns.
    """

    run: RunConfig
    train: BatchConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    parallel: ParallelConfig = ParallelConfig()
    precision: Literal["fp32", "bf16"] = "fp32"
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _deepspeed_block(self) -> Self:
        check_owned_keys(self.deepspeed)
        return self


class PretrainConfig(EngineConfig):
    """A pretraining run."""

    model: ModelConfig
    data: DataConfig
    train: PretrainBatchConfig
    schedule: PretrainScheduleConfig = PretrainScheduleConfig()
    validation: PretrainValidationConfig = PretrainValidationConfig()


class InitConfig(Settings):
    """Where a fine-tuned model starts.

    Attributes:
        checkpoint: a pretraining checkpoint; it always gives shape and tokenizer.
        weights: "pretrained", or "random" for the same model from scratch.
    """

    checkpoint: str
    weights: Literal["pretrained", "random"] = "pretrained"


class TaskConfig(Settings):
    """A labelled task.

    Attributes:
        name: as shown in tables.
        path: folder with train.jsonl, validation.jsonl and test.jsonl, rows {"text", "label"}.
        aux_lm: weight of the language-model loss on the task's text (lambda of GPT-1 3.2); 0 switches it off.
        dropout: of the classifier's input (GPT-1 4.1); the body uses it too.
    """

    name: str = Field(min_length=1)
    path: str
    aux_lm: Annotated[float, Field(ge=0)] = 0.5
    dropout: Share = 0.1


class FinetuneConfig(EngineConfig):
    """A fine-tuning run."""

    init: InitConfig
    task: TaskConfig
    train: FinetuneBatchConfig
    schedule: FinetuneScheduleConfig = FinetuneScheduleConfig()


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
        checkpoint: folder of a pretraining checkpoint.
        batch_size: windows per forward pass; it does not change the numbers.
    """

    run: RunConfig
    checkpoint: str
    batch_size: Positive = 8
    perplexity: PerplexityConfig | None = None
    choice: ChoiceConfig | None = None
    harness: HarnessConfig | None = None
    tracking: TrackingConfig = TrackingConfig()
