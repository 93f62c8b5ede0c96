from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from harness import ranks
from small_model import pretrain_config

from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import PackedWindows
from pipeline.data.sources import open_data
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.train.build import build_engine
from pipeline.train.layer_norms import LayerWatcher, layer_of

LAYERS = ["transformer.h.0", "transformer.h.1", "transformer.ln_f", "transformer.wpe", "transformer.wte"]


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("transformer.wte.weight", "transformer.wte"),
        ("transformer.h.11.attn.c_attn.bias", "transformer.h.11"),
        ("body.transformer.h.0.ln_1.weight", "body.transformer.h.0"),
        ("head.weight", "head"),
    ],
)
def test_layer_of(parameter: str, layer: str) -> None:
    assert layer_of(parameter) == layer


def _norms(configs: list[PretrainConfig]) -> list[tuple[dict[str, float], float, dict[str, float]]]:
    world = distributed.init()
    found = []
    for config in configs:
        data = open_data(config.data.path)
        samples = PackedWindows(data, 16, config.run.seed)
        engine = build_engine(config, data.vocab_size, world)
        assert isinstance(engine, LayerWatcher)
        batches = [samples.batch(np.arange(3) + 6 * k + 3 * world.rank) for k in range(2)]
        engine.watch_layers = True
        result = engine.train_step(batches, 0.01)
        engine.watch_layers = False
        silent = engine.train_step(batches, 0.01)
        norms = {name: float(norm) for name, norm in result.layer_norms.items()}
        found.append((norms, float(result.grad_norm), {name: float(n) for name, n in silent.layer_norms.items()}))
    return found


def plain(config: PretrainConfig) -> dict[str, float]:
    data = open_data(config.data.path)
    module = GPT(config.model, data.vocab_size)
    initialize(module, config.model, config.run.seed)
    module(**PackedWindows(data, 16, config.run.seed).batch(np.arange(12)))["loss"].backward()
    squares: dict[str, float] = {}
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        squares[layer_of(name)] = squares.get(layer_of(name), 0.0) + float(parameter.grad.double().square().sum())
    return {name: math.sqrt(square) for name, square in squares.items()}


def test_norms_of_layers_are_those_of_plain_pytorch(small_dataset: Path) -> None:
    def config(stage: int, precision: str = "fp32") -> PretrainConfig:
        train = {"global_batch": 12, "micro_batch": 3}
        parallel = {"zero_stage": stage}
        return pretrain_config(small_dataset, small_dataset, train=train, parallel=parallel, precision=precision)

    expected = plain(config(1))
    assert sorted(expected) == LAYERS
    configs = [config(stage) for stage in (0, 1, 2, 3)] + [config(1, "bf16")]
    for rank in ranks(2, _norms, configs):
        for (norms, total, silent), one in zip(rank, configs, strict=True):
            tolerance = 1e-5 if one.precision == "fp32" else 0.03
            assert norms == pytest.approx(expected, rel=tolerance)
            assert math.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(total, rel=1e-4)
            assert silent == {}
