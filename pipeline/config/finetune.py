"""What a fine-tuning run is: where its weights come from, its task, and how it is trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.engine import EngineConfig
from pipeline.config.fields import NotNegative, Share
from pipeline.config.optimizer import FinetuneScheduleConfig
from pipeline.config.task_data import TaskDataConfig
from pipeline.config.train import BatchConfig, ValidationConfig


class InitConfig(Settings):
    """Where a fine-tuned model starts.

    Attributes:
        checkpoint: a checkpoint of pretraining; one of fine-tuning, whose output layer is left out and whose special
            tokens are kept; or a Hugging Face folder of a GPT-2 or OpenAI GPT. It always gives shape and tokenizer.
        weights: "pretrained", or "random" for the same model from scratch.
        transfer_layers: of the pretrained weights take the embeddings and the first so many blocks, and draw the rest
            (GPT-1 5); 0 for the embeddings alone, -1 for nothing. All if not given.
    """

    checkpoint: str
    weights: Literal["pretrained", "random"] = "pretrained"
    transfer_layers: Annotated[int, Field(ge=-1)] | None = None

    @model_validator(mode="after")
    def _random_transfers_nothing(self) -> Self:
        if self.weights == "random" and self.transfer_layers not in (None, -1):
            raise ValueError("transfer_layers belongs to weights pretrained: leave it out")
        return self

    @property
    def transfers(self) -> bool:
        """Whether anything of the checkpoint's weights is taken."""
        return self.weights == "pretrained" and self.transfer_layers != -1


class TaskConfig(TaskDataConfig):
    """A labelled task, and what its loss is.

    Attributes:
        aux_lm: weight of the language-model loss on the task's text (lambda of GPT-1 3.2); 0 switches it off.
        dropout: of the output layer's input (GPT-1 4.1); the body uses it too.
    """

    aux_lm: Annotated[float, Field(ge=0)] = 0.5
    dropout: Share = 0.1


class FinetuneBatchConfig(BatchConfig):
    """A sample is a labelled example.

    Attributes:
        epochs: passes over the training examples; rounded up to whole steps.
        min_steps: optimizer steps at least, by further passes where few labels make few steps (Mosbach et al. 2021).
        length_group: so many global batches are sorted by length together, so that the examples of each are about
            equally long; the order of the batches stays random. 1 sorts within each batch, 0 not at all.
    """

    epochs: Annotated[float, Field(gt=0)]
    min_steps: NotNegative = 0
    length_group: NotNegative = 8


class FinetuneValidationConfig(ValidationConfig):
    """Validation on the whole validation split.

    Attributes:
        epochs: instead of `every`, passes over the training examples between validations, rounded up to whole steps;
            where `train.min_steps` makes more passes, as many validations as without.
        select: whose test results count: of the checkpoint with the best validation metric, which is kept as
            `checkpoints/best`, or of the last.
    """

    epochs: Annotated[float, Field(gt=0)] | None = None
    select: Literal["best", "last"] = "best"


class FinetuneConfig(EngineConfig):
    """A fine-tuning run."""

    init: InitConfig
    task: TaskConfig
    train: FinetuneBatchConfig
    schedule: FinetuneScheduleConfig = FinetuneScheduleConfig()
    validation: FinetuneValidationConfig = FinetuneValidationConfig()

    @model_validator(mode="after")
    def _plain_module(self) -> Self:
        if self.parallel.model_parallel > 1:
            raise ValueError("fine-tuning has no pipeline or tensor parallelism: use parallel.zero_stage 1, 2 or 3")
        return self
