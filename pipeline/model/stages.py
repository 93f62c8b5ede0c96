"""The layout as the stages of a pipeline: the one place that knows how DeepSpeed numbers and names its parts."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.distributed as dist
from deepspeed.comm import new_group
from deepspeed.runtime.pipe.module import LayerSpec, PipelineModule, TiedLayerSpec
from deepspeed.runtime.pipe.topology import PipeModelDataParallelTopology
from torch import Tensor, nn

from pipeline.config.kernels import KernelConfig
from pipeline.config.model import ModelConfig
from pipeline.config.parallel import ParallelConfig
from pipeline.model.gpt import EMBEDDING, documents_of, layout
from pipeline.model.init import initial_value
from pipeline.model.loss import lm_loss
from pipeline.model.parts import PLAIN, canonical_rows
from pipeline.model.tensor_parallel import TensorGroup, split_lm_loss, take_slice, tensor_parts

State = Tensor | tuple[Tensor, Tensor]
"""What a layer passes to the next: hidden states, with document numbers [batch, time] int32 if they are kept apart."""
_TIED = "embedding"
_BLOCK = "transformer.h."


def stage_bounds(names: Sequence[str], stages: int) -> list[int]:
    """Where each stage begins in a layout, and the end: equally many blocks each, the rest with its neighbour.

    Args:
        names: of the layers, in order.
        stages: number of stages.
    """
    blocks = [index for index, name in enumerate(names) if name.startswith(_BLOCK)]
    inner = [blocks[stage * len(blocks) // stages] for stage in range(1, stages)]
    return [0, *inner, len(names)]


class _Piped(nn.Module):
    """A layer of the layout as DeepSpeed calls it, with one argument."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, state: State) -> State:
        if isinstance(state, Tensor):
            hidden: Tensor = self.layer(state)
            return hidden
        return self.layer(*state), state[1]


class _Embed(_Piped):
    """The first layer, which also numbers the documents."""

    def __init__(self, layer: nn.Module, documents: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__(layer)
        self._documents = documents

    def forward(self, state: State) -> State:
        assert isinstance(state, Tensor)
        hidden: Tensor = self.layer(state)
        documents = self._documents(state)
        return hidden if documents is None else (hidden, documents)


def _head(embed: _Embed, state: State) -> tuple[Tensor, Tensor]:
    """What the loss takes: last hidden states and the output head."""
    weight = embed.layer.get_parameter("weight")
    # Not the parameter itself: DeepSpeed begins a backward pass, and clears bf16 gradients then, where a gradient
    # reaches an output that was computed. That of a bare parameter is there before, and would be lost.
    return state if isinstance(state, Tensor) else state[0], weight.view_as(weight)


class _Spec(LayerSpec):  # type: ignore[misc]
    def __init__(self, name: str, make: Callable[[], nn.Module]) -> None:
        super().__init__(nn.Module)
        self.name, self._make = name, make

    def build(self, log: bool = False) -> nn.Module:
        return self._make()


class _TiedSpec(TiedLayerSpec):  # type: ignore[misc]
    def __init__(
        self, name: str, make: Callable[[], nn.Module], forward_fn: Callable[..., object] | None = None
    ) -> None:
        super().__init__(_TIED, nn.Module, forward_fn=forward_fn, tied_weight_attr="layer.weight")
        self.name, self._make = name, make

    def build(self, log: bool = False) -> nn.Module:
        return self._make()


class Topology:
    """This rank's place among pipeline stages, copies of the model and tensor-parallel ranks; collective.

    Ranks that share matrices are neighbours, then come copies, then stages: who talks most sits closest.

    Args:
        config: gives the number of stages and of tensor-parallel ranks.
        world_size: number of ranks.

    Attributes:
        grid: DeepSpeed's form of it.
        stage: number of this rank's stage.
        data_parallel_rank: number of its copy of the model.
        data_parallel_size: number of copies.
        tensor: the ranks that share its matrices.

    Raises:
        UserError: the ranks do not make whole copies of the model.
    """

    def __init__(self, config: ParallelConfig, world_size: int) -> None:
        self.data_parallel_size = config.data_parallel(world_size)
        self.grid = PipeModelDataParallelTopology(config.pipeline, config.tensor, self.data_parallel_size)
        rank = dist.get_rank()
        place = self.grid.get_coord(rank)
        self.stage, self.data_parallel_rank = place.pipe, place.data
        for ranks in self.grid.get_axis_comm_lists("model") or [[one] for one in range(world_size)]:
            group = new_group(ranks)
            if rank in ranks:
                self.tensor = TensorGroup(group, ranks.index(rank), len(ranks))


class Stages(PipelineModule):  # type: ignore[misc]
    """This rank's part of a model.

    Args:
        config: shape of the model.
        vocab_size: number of token ids.
        topology: this rank's place.
        loss: (hidden states, this rank's part of the head), targets -> loss.
        seed: of the initial weights.
        kernels: how it is computed.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        topology: Topology,
        loss: Callable[[tuple[Tensor, Tensor], Tensor], Tensor],
        seed: int,
        kernels: KernelConfig | None = None,
    ) -> None:
        ranks = topology.tensor
        parts = tensor_parts(ranks, config.dropout) if ranks.size > 1 else PLAIN
        layers = layout(config, vocab_size, parts, kernels)
        assert layers[0].name == EMBEDDING

        def make(name: str, build: Callable[[], nn.Module]) -> nn.Module:
            layer = build()
            _fill(layer, name, config, seed, ranks)
            if name == EMBEDDING:
                return _Embed(layer, partial(documents_of, config, vocab_size))
            return _Piped(layer)

        first, *rest = [(layer.name, partial(make, layer.name, layer.build)) for layer in layers]
        specs = [_TiedSpec(*first), *(_Spec(*one) for one in rest), _TiedSpec(*first, _head)]
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its settings
            super().__init__(specs, topology=topology.grid, loss_fn=loss)

    def _partition_layers(self, method: str = "") -> None:
        """Deal the layers out to the stages, in place of DeepSpeed's methods."""
        self.parts = stage_bounds([spec.name for spec in self._layer_specs], self.num_stages)
        self._set_bounds(*list(pairwise(self.parts))[self.stage_id])

    def canonical_parameters(self) -> dict[str, nn.Parameter]:
        """Canonical name -> this rank's part of the parameter."""
        found = {}
        for name, parameter in self.named_parameters():
            owner, _, rest = name.partition(".layer.")
            tied = owner == f"tied_modules.{_TIED}"
            found[f"{EMBEDDING if tied else self._layer_specs[int(owner)].name}.{rest}"] = parameter
        return found

    def first_holds(self, name: str) -> bool:
        """Whether this stage is the first that holds a parameter of `canonical_parameters`: the tied one has two."""
        return self.stage_id == 0 or not name.startswith(f"{EMBEDDING}.")


def loss_function(
    config: ModelConfig, vocab_size: int, ranks: TensorGroup, kernels: KernelConfig | None = None
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(hidden, this rank's part of the head, targets) -> (summed nll, number of targets), as `lm_loss`."""
    chunk = kernels.loss_chunk if kernels is not None else 0
    if ranks.size > 1:
        return partial(split_lm_loss, ranks, vocab_size=vocab_size, chunk=chunk)
    return partial(lm_loss, vocab_size=vocab_size, chunk=chunk)


def whole_shape(parameter: Tensor, ranks: TensorGroup) -> list[int]:
    """Shape of a parameter over all tensor-parallel ranks, padding included."""
    shape = list(parameter.shape)
    dim: int | None = getattr(parameter, "split_dim", None)
    if dim is not None:
        shape[dim] *= ranks.size
    return shape


@torch.no_grad()
def _fill(layer: nn.Module, prefix: str, config: ModelConfig, seed: int, ranks: TensorGroup) -> None:
    """Set a layer's parameters to their slices of `initial_value`; padded rows become 0."""
    for name, parameter in layer.named_parameters():
        shape = whole_shape(parameter, ranks)
        rows = canonical_rows(parameter) or shape[0]
        value = torch.zeros(shape)
        value[:rows] = initial_value(f"{prefix}.{name}", (rows, *shape[1:]), config, seed)
        parameter.copy_(take_slice(value, parameter, ranks))
