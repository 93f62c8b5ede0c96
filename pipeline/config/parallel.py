"""How a model is spread over ranks, and in which precision it is computed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from data_prep.errors import UserError
from pipeline.config.fields import NotNegative, Positive
from pipeline.config.model import ModelConfig

Precision = Literal["fp32", "bf16", "fp16"]
"""Of weights and activations in forward and backward. Master weights, moments and accumulated gradients are fp32."""


class ParallelConfig(Settings):
    """How the model is spread over ranks: world size = pipeline x tensor x data-parallel ranks.

    Attributes:
        zero_stage: ZeRO stage (1910.02054): 1 shards the optimizer over the data-parallel ranks, 2 also the gradients,
            3 also the parameters. 0 shards nothing; fp32 only, since DeepSpeed's bf16 without ZeRO takes an optimizer
            step on empty gradients before the first batch.
        pipeline: stages, each with the same number of blocks (1F1B; 1806.03377).
        tensor: ranks that share each block's matrices and the vocabulary (1909.08053, section 3).
        activation_checkpointing: what is recomputed in the backward pass instead of kept: "none"; "full", every block;
            "selective", the feed-forward half of every block, which holds about half of its activations and costs one
            matrix product to recompute; a number n, every n-th block (1 is "full").
        compile: torch.compile for each block.
        timeout_minutes: after which a collective that some rank does not join fails.
    """

    zero_stage: Literal[0, 1, 2, 3] = 1
    pipeline: Positive = 1
    tensor: Positive = 1
    activation_checkpointing: Literal["none", "full", "selective"] | Positive = "none"
    compile: bool = False
    timeout_minutes: Annotated[float, Field(gt=0)] = 30.0

    @property
    def model_parallel(self) -> int:
        """Ranks that hold one copy of the model."""
        return self.pipeline * self.tensor

    @model_validator(mode="after")
    def _zero_fits(self) -> Self:
        if self.model_parallel > 1 and self.zero_stage != 1:
            reason = (
                "DeepSpeed clips by a wrong gradient norm there with stage 0"
                if self.zero_stage == 0
                else "stages 2 and 3 shard what a pipeline accumulates"
            )
            raise ValueError(f"parallel.pipeline and parallel.tensor need parallel.zero_stage 1: {reason}")
        return self

    def check_precision(self, precision: Precision) -> None:
        """Raise `ValueError` if this ZeRO stage does not train right in this precision."""
        if self.zero_stage == 0 and precision != "fp32":
            raise ValueError(
                f"parallel.zero_stage 0 trains right with precision fp32 only (not {precision}): use stage 1, which on "
                "one rank is the same training"
            )

    def check_model(self, model: ModelConfig) -> None:
        """Raise `ValueError` if blocks, heads or widths cannot be dealt out evenly."""
        if self.model_parallel > 1 and model.kind != "gpt":
            raise ValueError(f"model.kind {model.kind} has no pipeline or tensor parallelism")
        for name, value, field, ranks in (
            ("n_layer", model.n_layer, "pipeline", self.pipeline),
            ("n_head", model.n_head, "tensor", self.tensor),
            ("d_model", model.d_model, "tensor", self.tensor),
        ):
            if value % ranks:
                raise ValueError(f"model.{name} {value} is not a multiple of parallel.{field} {ranks}")

    def data_parallel(self, world_size: int) -> int:
        """Number of copies of the model.

        Raises:
            UserError: the ranks do not make whole copies.
        """
        if world_size % self.model_parallel:
            raise UserError(
                f"{world_size} ranks are not a multiple of parallel.pipeline {self.pipeline} x parallel.tensor "
                f"{self.tensor}",
                where="config",
                fix=f"start a multiple of {self.model_parallel} ranks",
            )
        return world_size // self.model_parallel

    def check_ranks(self, precision: Precision, world_size: int, device: str, padded: int = 0) -> None:
        """See that the ranks that were started can do what is asked.

        Args:
            precision: of the run.
            world_size: number of ranks.
            device: "cpu" or "cuda".
            padded: rows of the embedding, padding included.

        Raises:
            UserError: the ranks do not make whole copies of the model, the vocabulary cannot be dealt out evenly, or
                the precision does not exist on the device.
        """
        if precision == "fp16" and device == "cpu":
            raise UserError("precision fp16 needs a GPU", where="config", fix="use bf16 or fp32")
        self.data_parallel(world_size)
        if padded % self.tensor:
            raise UserError(
                f"a vocabulary of {padded} entries cannot be dealt out evenly to parallel.tensor {self.tensor} ranks",
                where="config",
                fix=f"set model.vocab_multiple to a multiple of {self.tensor}",
            )


class LossScaleConfig(Settings):
    """Scaling of the loss in fp16, so that small gradients do not vanish (1710.03740, section 3.2).

    The dynamic scale halves after an overflow, whose update is skipped, and doubles after `window` updates without one.

    Attributes:
        static: a fixed scale; 0 for the dynamic one.
        initial_power: the dynamic scale starts at 2 to this power.
        window: updates without overflow after which it doubles.
        hysteresis: overflows in a row before it halves.
        minimum: it never falls below.
    """

    static: Annotated[float, Field(ge=0)] = 0.0
    initial_power: NotNegative = 16
    window: Positive = 1000
    hysteresis: Positive = 2
    minimum: Positive = 1
