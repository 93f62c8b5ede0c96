"""What a training run is: every setting, its type and its bounds; the sections have files of their own."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pipeline.config.cluster import ClusterConfig
from pipeline.config.engine import EngineConfig
from pipeline.config.evaluate import ChoiceConfig, EvaluateConfig, HarnessConfig, PerplexityConfig
from pipeline.config.evaluate_suite import InLoopSuiteConfig
from pipeline.config.finetune import (
    FinetuneBatchConfig,
    FinetuneConfig,
    FinetuneValidationConfig,
    InitConfig,
    TaskConfig,
)
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
from pipeline.config.parallel import LossScaleConfig, ParallelConfig
from pipeline.config.run import RunConfig, TrackingConfig
from pipeline.config.train import (
    BatchConfig,
    BatchRampConfig,
    CheckpointConfig,
    DataConfig,
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
    "FinetuneValidationConfig",
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


class PretrainConfig(EngineConfig):
    """A pretraining run.

    Attributes:
        suite: evaluation sets that are scored now and then; training does not notice.
        cluster: what `launch/plan.py` plans for; training does not look at it.
    """

    model: ModelConfig
    data: DataConfig
    train: PretrainBatchConfig
    schedule: PretrainScheduleConfig = PretrainScheduleConfig()
    validation: PretrainValidationConfig = PretrainValidationConfig()
    checkpoint: PretrainCheckpointConfig = PretrainCheckpointConfig()
    samples: SamplesConfig | None = None
    suite: InLoopSuiteConfig | None = None
    cluster: ClusterConfig | None = None

    @model_validator(mode="after")
    def _shape_fits(self) -> Self:
        self.parallel.check_model(self.model)
        return self
