"""What a training run is: every setting, its type and its bounds; the sections have files of their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.cluster import ClusterConfig
from pipeline.config.deepspeed import check_offload, check_owned_keys
from pipeline.config.evaluate import ChoiceConfig, EvaluateConfig, HarnessConfig, PerplexityConfig
from pipeline.config.fields import Share
from pipeline.config.health import HealthConfig
from pipeline.config.kernels import KernelConfig
from pipeline.config.model import ModelConfig
from pipeline.config.monitoring import LogConfig, ProfileConfig, SamplesConfig
from pipeline.config.optimizer import (
    FinetuneScheduleConfig,
    OptimizerConfig,
    PretrainScheduleConfig,
    ScheduleConfig,
)
from pipeline.config.parallel import LossScaleConfig, ParallelConfig, Precision
from pipeline.config.run import RunConfig, TrackingConfig
from pipeline.config.train import (
    BatchConfig,
    BatchRampConfig,
    CheckpointConfig,
    DataConfig,
    FinetuneBatchConfig,
    PretrainBatchConfig,
    PretrainCheckpointConfig,
    PretrainValidationConfig,
    ValidationConfig,
)

__all__ = [
    "BatchConfig",
    "BatchRampConfig",
    "CheckpointConfig",
    "ChoiceConfig",
    "ClusterConfig",
    "DataConfig",
    "EngineConfig",
    "EvaluateConfig",
    "FinetuneBatchConfig",
    "FinetuneConfig",
    "FinetuneScheduleConfig",
    "HarnessConfig",
    "HealthConfig",
    "InitConfig",
    "KernelConfig",
    "LogConfig",
    "LossScaleConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "PerplexityConfig",
    "PretrainBatchConfig",
    "PretrainCheckpointConfig",
    "PretrainConfig",
    "PretrainScheduleConfig",
    "PretrainValidationConfig",
    "ProfileConfig",
    "RunConfig",
    "SamplesConfig",
    "ScheduleConfig",
    "TaskConfig",
    "TrackingConfig",
    "ValidationConfig",
]


class EngineConfig(Settings):
    """Settings that pretraining and fine-tuning share.

    Attributes:
        precision: "fp32"; "bf16" or "fp16" with fp32 master weights and fp32 gradient accumulation.
        loss_scale: for fp16.
        deepspeed: carried verbatim into DeepSpeed's configuration, except for the keys that this schema owns.
    """

    run: RunConfig
    train: BatchConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    parallel: ParallelConfig = ParallelConfig()
    kernels: KernelConfig = KernelConfig()
    precision: Precision = "fp32"
    loss_scale: LossScaleConfig = LossScaleConfig()
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    health: HealthConfig = HealthConfig()
    log: LogConfig = LogConfig()
    profile: ProfileConfig | None = None
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _deepspeed_block(self) -> Self:
        check_owned_keys(self.deepspeed)
        check_offload(self.deepspeed)
        return self

    @model_validator(mode="after")
    def _precision_fits(self) -> Self:
        self.parallel.check_precision(self.precision)
        return self


class PretrainConfig(EngineConfig):
    """A pretraining run.

    Attributes:
        cluster: what `launch/plan.py` plans for; training does not look at it.
    """

    model: ModelConfig
    data: DataConfig
    train: PretrainBatchConfig
    schedule: PretrainScheduleConfig = PretrainScheduleConfig()
    validation: PretrainValidationConfig = PretrainValidationConfig()
    checkpoint: PretrainCheckpointConfig = PretrainCheckpointConfig()
    samples: SamplesConfig | None = None
    cluster: ClusterConfig | None = None

    @model_validator(mode="after")
    def _shape_fits(self) -> Self:
        self.parallel.check_model(self.model)
        return self


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

    @model_validator(mode="after")
    def _plain_module(self) -> Self:
        if self.parallel.model_parallel > 1:
            raise ValueError("fine-tuning has no pipeline or tensor parallelism: use parallel.zero_stage 1, 2 or 3")
        return self
