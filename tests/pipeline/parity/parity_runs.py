"""The same training in DeepSpeed under every topology, and in plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine_state import weights_of
from small_model import model_config, plain_optimizer, plain_steps, pretrain_config, random_tokens

from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import Batch
from pipeline.distributed import World
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.train.build import build_engine
from pipeline.train.engine import Engine, reduce_sums
from pipeline.train.pipe_engine import PipeEngine

VOCAB = 97
"""Padded to 100, which two tensor-parallel ranks share."""
LENGTH = 16
RATES = (0.004, 0.01, 0.008, 0.003)
Result = dict[str, Any]


@dataclass(frozen=True)
class Topology:
    """One row of the table; `piped` is the pipeline engine, also where one stage and one slice make one module."""

    zero: int = 1
    pipeline: int = 1
    tensor: int = 1
    data: int = 1
    piped: bool = False

    @property
    def ranks(self) -> int:
        return self.pipeline * self.tensor * self.data

    @property
    def label(self) -> str:
        if self.piped:
            return f"PP {self.pipeline} x TP {self.tensor} x DP {self.data}, ZeRO-1"
        return f"ZeRO-{self.zero}, DP {self.data}"


@dataclass(frozen=True)
class Variant:
    """One column of the table: micro-batches of each step are `batch` / `pieces` / DP samples."""

    name: str
    batches: tuple[int, ...] = (12, 12, 12, 12)
    piece: int = 4
    changes: tuple[tuple[str, Any], ...] = ()
    model: tuple[tuple[str, Any], ...] = ()


VARIANTS = (
    Variant("accumulation 1", piece=12),
    Variant("accumulation 3"),
    Variant("batch ramp", batches=(4, 8, 8, 12)),
    Variant("activation checkpointing", changes=(("activation_checkpointing", "full"),)),
    Variant("document masking", model=(("document_mask", True),)),
    Variant("bf16", changes=(("precision", "bf16"),)),
)
TOPOLOGIES = (
    *(Topology(zero=stage, data=data) for data in (1, 2) for stage in (0, 1, 2, 3)),
    *(
        Topology(pipeline=pipeline, tensor=tensor, data=data, piped=True)
        for pipeline in (1, 2)
        for tensor in (1, 2)
        for data in (1, 2)
    ),
)


def settings(topology: Topology, variant: Variant) -> PretrainConfig:
    changes = dict(variant.changes)
    parallel = {"zero_stage": topology.zero, "pipeline": topology.pipeline, "tensor": topology.tensor}
    precision = changes.pop("precision", "fp32")
    return pretrain_config(
        Path("data"),
        Path("runs"),
        model=model_config(vocab_multiple=20, **dict(variant.model)).model_dump(),
        parallel={**parallel, **changes},
        precision=precision,
        train={"global_batch": variant.batches[0], "micro_batch": variant.piece // topology.data},
        # An eps well above rounding noise: Adam would turn noise around a zero gradient into steps of full size.
        optimizer={"lr": 1.0, "grad_clip": 0.5, "weight_decay": 0.3, "eps": 1e-4},
    )


def samples(step: int, size: int) -> Batch:
    """Windows with some ends of documents in them."""
    tokens = random_tokens((size, LENGTH + 1), VOCAB - 1, seed=step)
    tokens[random_tokens(tuple(tokens.shape), 6, seed=100 + step) == 0] = VOCAB - 1
    return {"tokens": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}


def held_out(data_parallel_rank: int) -> Batch:
    """Of another shape than in training, and of other shapes on other copies of the model."""
    return {name: value[: 3 + data_parallel_rank] for name, value in samples(50, 5).items()}


def _engine(config: PretrainConfig, topology: Topology, world: World) -> Engine:
    if topology.piped:
        return PipeEngine(config.model, VOCAB, config, world, config.kernels)
    return build_engine(config, VOCAB, world)


def trained(cases: list[tuple[Topology, Variant]]) -> list[Result]:
    """Train each case with DeepSpeed on these ranks."""
    world = distributed.init()
    results = []
    for topology, variant in cases:
        config = settings(topology, variant)
        engine = _engine(config, topology, world)
        losses, norms = [], []
        for step, rate in enumerate(RATES):
            size = variant.batches[step]
            batch = samples(step, size)
            mine = np.split(np.arange(size), topology.data)[engine.data_parallel_rank]
            pieces = np.split(mine, len(mine) // config.train.micro_batch)
            result = engine.train_step([{name: value[i] for name, value in batch.items()} for i in pieces], rate)
            sums = reduce_sums(result.sums)
            losses.append(sums["nll"] / sums["targets"])
            norms.append(float(result.grad_norm))
        validation = reduce_sums(engine.evaluate(held_out(engine.data_parallel_rank)))
        weights = weights_of(engine)
        results.append({"losses": losses, "norms": norms, "validation": validation, "weights": weights})
    return results


def plain(variant: Variant) -> Result:
    """The same training in one process without DeepSpeed, in fp32, every global batch at once."""
    config = settings(Topology(), Variant(variant.name, variant.batches, variant.piece, (), variant.model))
    module = GPT(config.model, VOCAB)
    initialize(module, config.model, config.run.seed)
    optimizer = plain_optimizer(module, config.optimizer)
    batches = (samples(step, size) for step, size in enumerate(variant.batches))
    losses, norms = plain_steps(module, optimizer, config.optimizer.grad_clip, batches, RATES)
    validation = {}
    for data in (1, 2):
        with torch.no_grad():
            parts = [module(**held_out(rank)) for rank in range(data)]
        validation[data] = sum(part["nll"].item() for part in parts)
    weights = {name: value.detach().numpy()[: _rows(name)] for name, value in module.named_parameters()}
    return {"losses": losses, "norms": norms, "validation": validation, "weights": weights}


def _rows(name: str) -> int | None:
    return VOCAB if name == "transformer.wte.weight" else None
