"""The machines that a plan is made for; training itself does not look at them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from data_prep.configfile import Settings
from pipeline.config.fields import Positive, Share
from pipeline.config.gpus import GPU, GPUS


class ClusterConfig(Settings):
    """What `launch/plan.py` plans for.

    Attributes:
        gpu: a name of `pipeline.config.gpus.GPUS`.
        nodes: machines.
        gpus_per_node: in each of them.
        network_gbit: Gbit/s of the network between nodes, for each GPU; that of the maker's own system if not given.
        efficiency: share of the GPU's peak that kernels reach while they compute; the GPU's own if not given.
        mfu: model FLOPs utilisation (causal convention) to reckon with instead of what the model of time gives.
        memory_margin: share of a GPU's memory left free for the CUDA context, NCCL and fragmentation.
        storage_gb: GB/s at which all nodes together write a checkpoint.
        price: of one GPU for one hour, in any currency; without it no cost is given.
    """

    gpu: str = "h100-80gb"
    nodes: Positive = 1
    gpus_per_node: Positive = 8
    network_gbit: Annotated[float, Field(gt=0)] | None = None
    efficiency: Annotated[float, Field(gt=0, le=1)] | None = None
    mfu: Annotated[float, Field(gt=0, le=1)] | None = None
    memory_margin: Share = 0.08
    storage_gb: Annotated[float, Field(gt=0)] = 2.0
    price: Annotated[float, Field(gt=0)] | None = None

    @field_validator("gpu")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in GPUS:
            raise ValueError(f"no such GPU; there are {', '.join(GPUS)}")
        return name

    @property
    def device(self) -> GPU:
        """The GPU's figures."""
        return GPUS[self.gpu]

    @property
    def world_size(self) -> int:
        """GPUs in all, and ranks."""
        return self.nodes * self.gpus_per_node

    @property
    def usable_bytes(self) -> int:
        """Memory of one GPU that a run may fill."""
        return int(self.device.memory_mib * 2**20 * (1 - self.memory_margin))

    @property
    def reached(self) -> float:
        """Share of the peak that kernels reach while they compute."""
        return self.efficiency if self.efficiency is not None else self.device.efficiency

    @property
    def network_gb(self) -> float:
        """GB/s in one direction between nodes, for each GPU."""
        return (self.network_gbit if self.network_gbit is not None else self.device.network_gbit) / 8
