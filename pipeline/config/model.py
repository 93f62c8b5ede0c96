"""The shape of a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative, Positive, Share


class PrintedShape(Settings):
    """What GPT-3's Table 2.1 prints where it differs from what its own parameter counts imply.

    Attributes:
        n_head: attention heads per block.
        d_model: width of the residual stream.
        d_head: width of a head.
    """

    n_head: Positive
    d_model: Positive
    d_head: Positive


class ModelConfig(Settings):
    """Shape of a GPT, or of the LSTM of GPT-1's ablation.

    Attributes:
        kind: "gpt", or "lstm" (GPT-1 5: one layer of 2048 units; it has no heads, positions or norms).
        n_layer: number of blocks, or of LSTM layers.
        n_head: attention heads per block.
        d_model: width of the residual stream, and of token embeddings.
        d_head: width of a head; d_model / n_head if not given.
        units: width of an LSTM layer; d_model if not given.
        sequence_length: tokens of context, and learned positions.
        norm: "pre" (GPT-2, GPT-3; a final norm follows the blocks) or "post" (GPT-1).
        attention: "dense", or "alternating": even blocks dense, odd blocks see `band_width` tokens back (GPT-3 2.1).
        band_width: tokens a banded block sees, itself included; GPT-3 does not publish it.
        document_mask: attention sees only the own document, and positions restart at each. Without it documents are
            packed and seen across (GPT-3 B).
        dropout: probability for embeddings, attention weights and residual branches.
        position_std: standard deviation of initial position embeddings.
        vocab_multiple: rows of the embedding are padded up to a multiple of this, for speed or to be dealt out to
            tensor-parallel ranks. Padded rows are no tokens: they have no probability and no place in checkpoints.
        as_printed: use the shape of `printed`.
        printed: the shape that the paper's table prints.
    """

    kind: Literal["gpt", "lstm"] = "gpt"
    n_layer: Positive
    n_head: NotNegative = 0
    d_model: Positive
    d_head: Positive | None = None
    units: Positive | None = None
    sequence_length: Positive
    norm: Literal["pre", "post"] = "pre"
    attention: Literal["dense", "alternating"] = "dense"
    band_width: Positive = 256
    document_mask: bool = False
    dropout: Share = 0.0
    position_std: Annotated[float, Field(gt=0)] = 0.01
    vocab_multiple: Positive = 1
    as_printed: bool = False
    printed: PrintedShape | None = None

    @model_validator(mode="before")
    @classmethod
    def _printed_shape(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("as_printed") is not True:
            return values
        if values.get("printed") is None:
            raise ValueError("as_printed needs the printed shape in `printed`; only gpt3-xl and gpt3-13b differ")
        return {**values, **PrintedShape.model_validate(values["printed"]).model_dump()}

    @model_validator(mode="after")
    def _shape_fits(self) -> Self:
        if self.kind == "lstm":
            if self.n_head or self.d_head or self.attention != "dense" or self.document_mask:
                raise ValueError("an LSTM has no heads, no attention and no document mask: leave those settings out")
            return self
        if self.units is not None:
            raise ValueError("units belong to kind lstm: leave them out")
        if not self.n_head:
            raise ValueError("n_head is missing: set the number of attention heads")
        if self.d_head is None and self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}: set d_head")
        return self

    @property
    def head_width(self) -> int:
        """Width of one attention head; 0 for an LSTM."""
        return self.d_head or (self.d_model // self.n_head if self.n_head else 0)

    @property
    def lstm_units(self) -> int:
        """Width of an LSTM layer."""
        return self.units or self.d_model

    def padded(self, vocab_size: int) -> int:
        """Rows of the embedding of a vocabulary of so many entries."""
        return -(-vocab_size // self.vocab_multiple) * self.vocab_multiple

    def facts(self, vocab_size: int) -> dict[str, Any]:
        """What a checkpoint records of its model: all that decides the numbers."""
        left_out = {"vocab_multiple", "as_printed", "printed"}
        return {**self.model_dump(mode="json", exclude=left_out), "vocab_size": vocab_size}
