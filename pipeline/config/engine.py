"""Settings that pretraining and fine-tuning share."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.deepspeed import check_offload, check_owned_keys
from pipeline.config.health import HealthConfig
from pipeline.config.kernels import KernelConfig
from pipeline.config.monitoring import LogConfig, ProfileConfig
from pipeline.config.optimizer import OptimizerConfig, ScheduleConfig
from pipeline.config.parallel import LossScaleConfig, ParallelConfig, Precision
from pipeline.config.run import RunConfig, TrackingConfig
from pipeline.config.train import BatchConfig, CheckpointConfig, ValidationConfig


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
