"""DeepSpeed against plain PyTorch: loss, gradient norm, weights and validation after some steps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_state import weights_of
from harness import ranks
from small_model import plain_optimizer, plain_steps, pretrain_config

from data_prep.shards import DatasetManifest
from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import FixedWindows, PackedWindows
from pipeline.data.sources import open_data
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.train.deepspeed_engine import parameter_groups
from pipeline.train.engine import reduce_sums
from pipeline.train.validation import validate
from pipeline.train.zero_engine import ZeroEngine

STEPS = 4
LENGTH = 16
RATES = [0.004, 0.01, 0.008, 0.003]
CASES = {
    f"ZeRO-{stage}, {accumulation} micro-batches": (stage, accumulation)
    for stage in (1, 2, 3)
    for accumulation in (1, 3)
}
Result = dict[str, Any]


def settings(dataset: Path, world_size: int, stage: int, accumulation: int, **changes: Any) -> PretrainConfig:
    return pretrain_config(
        dataset,
        dataset,
        parallel={"zero_stage": stage},
        train={"global_batch": 12, "micro_batch": 12 // accumulation // world_size},
        # An eps well above rounding noise: Adam would turn noise around a zero gradient into steps of full size.
        optimizer={"lr": 1.0, "grad_clip": 0.5, "weight_decay": 0.3, "eps": 1e-4},
        **changes,
    )


def _module(config: PretrainConfig, manifest: DatasetManifest) -> GPT:
    module = GPT(config.model, manifest.vocab_size)
    initialize(module, config.model, config.run.seed)
    return module


def _engines(configs: list[PretrainConfig]) -> list[Result]:
    """Train each configuration with DeepSpeed."""
    world = distributed.init()
    results = []
    for config in configs:
        folder = config.data.path
        manifest = DatasetManifest.load(folder)
        samples = PackedWindows(open_data(folder), LENGTH, config.run.seed)
        engine = ZeroEngine(_module(config, manifest), config, world)
        losses, norms = [], []
        for step, rate in enumerate(RATES):
            mine = np.split(np.arange(12 * step, 12 * (step + 1)), world.size)[world.rank]
            pieces = np.split(mine, len(mine) // config.train.micro_batch)
            result = engine.train_step([samples.batch(piece) for piece in pieces], rate)
            sums = reduce_sums(result.sums)
            losses.append(sums["nll"] / sums["targets"])
            norms.append(float(result.grad_norm))
        weights = weights_of(engine)
        held_out = FixedWindows(open_data(folder), LENGTH, 7 * LENGTH)
        results.append(
            {
                "losses": losses,
                "norms": norms,
                "weights": weights,
                "validation": validate(engine, held_out, 3),
                "windows": len(held_out),
            }
        )
    return results


def plain(config: PretrainConfig) -> Result:
    """The same training in one process without DeepSpeed."""
    folder = config.data.path
    manifest = DatasetManifest.load(folder)
    samples = PackedWindows(open_data(folder), LENGTH, config.run.seed)
    module = _module(config, manifest)
    optimizer = plain_optimizer(module, config.optimizer)
    batches = (samples.batch(np.arange(12 * step, 12 * (step + 1))) for step in range(len(RATES)))
    losses, norms = plain_steps(module, optimizer, config.optimizer.grad_clip, batches, RATES)
    held_out = FixedWindows(open_data(folder), LENGTH, 7 * LENGTH).batch(np.arange(7))
    with torch.no_grad():
        validation = module(**held_out)["nll"].item()
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    return {"losses": losses, "norms": norms, "weights": weights, "validation": validation}


@pytest.fixture(scope="module")
def reference(small_dataset: Path) -> Result:
    return plain(settings(small_dataset, 1, 1, 1))


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def trained(request: pytest.FixtureRequest, small_dataset: Path) -> list[dict[str, Result]]:
    """Of each rank: case -> result. All cases run in one group of processes."""
    size = request.param
    configs = [settings(small_dataset, size, stage, accumulation) for stage, accumulation in CASES.values()]
    bf16 = settings(small_dataset, size, 1, 3, precision="bf16")
    return [dict(zip([*CASES, "bf16"], results, strict=True)) for results in ranks(size, _engines, [*configs, bf16])]


def test_the_reference_clips_and_learns(reference: Result) -> None:
    assert min(reference["norms"]) > 0.5
    assert reference["losses"][-1] < reference["losses"][0] - 0.1


@pytest.mark.parametrize("case", CASES)
def test_training_equals_plain_pytorch(trained: list[dict[str, Result]], reference: Result, case: str) -> None:
    for found in (rank[case] for rank in trained):
        np.testing.assert_allclose(found["losses"], reference["losses"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found["norms"], reference["norms"], rtol=1e-5)
    weights = trained[0][case]["weights"]
    assert set(weights) == set(reference["weights"])
    for name, expected in reference["weights"].items():
        np.testing.assert_allclose(weights[name], expected, rtol=0, atol=2e-6, err_msg=name)
    for other in trained[1:]:
        assert other[case]["weights"] == {}


@pytest.mark.parametrize("case", CASES)
def test_validation_counts_every_window_once(trained: list[dict[str, Result]], reference: Result, case: str) -> None:
    """7 windows in batches of 3 leave the second rank without an example in the second round."""
    for found in (rank[case] for rank in trained):
        assert found["windows"] == 7
        assert found["validation"]["targets"] == 7 * LENGTH
        assert found["validation"]["nll"] == pytest.approx(reference["validation"], rel=1e-6)


def test_bf16_stays_near_fp32(trained: list[dict[str, Result]], reference: Result) -> None:
    """bf16 has 8 bits of mantissa: the loss of about 5.7 nats is right to 0.3 %, the master weights are fp32."""
    found = trained[0]["bf16"]
    np.testing.assert_allclose(found["losses"], reference["losses"], rtol=0, atol=0.02)
    assert found["losses"] != reference["losses"]
    for name, expected in reference["weights"].items():
        value = found["weights"][name]
        assert value.dtype == np.float32
        assert np.abs(value - expected).mean() < 1e-3, name
    assert any((torch.from_numpy(w).bfloat16().float().numpy() != w).any() for w in found["weights"].values())


def _not_finite(configs: list[PretrainConfig]) -> list[tuple[float, bool]]:
    world = distributed.init()
    norms = []
    for config in configs:
        manifest = DatasetManifest.load(config.data.path)
        samples = PackedWindows(open_data(config.data.path), LENGTH, 1)
        for value in (math.inf, math.nan):
            module = _module(config, manifest)
            with torch.no_grad():
                module.get_submodule("transformer.h.0.ln_1").get_parameter("weight").fill_(value)
            engine = ZeroEngine(module, config, world)
            result = engine.train_step([samples.batch(np.arange(6))], 0.1)
            norms.append((float(result.grad_norm), result.skipped))
    return norms


def test_a_gradient_that_is_not_finite_shows_in_its_norm(small_dataset: Path) -> None:
    configs = [settings(small_dataset, 2, stage, 1) for stage in (1, 2, 3)]
    configs.append(settings(small_dataset, 2, 1, 1, precision="bf16"))
    for norms in ranks(2, _not_finite, configs):
        assert len(norms) == 8
        assert not any(math.isfinite(norm) or skipped for norm, skipped in norms)


def test_gains_and_biases_do_not_decay() -> None:
    module = GPT(pretrain_config(Path(), Path()).model, 30)
    decayed, rest = parameter_groups(module, 0.25)
    names = {id(p): name for name, p in module.named_parameters()}
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.25, 0.0)
    assert all(names[id(p)].endswith("weight") and "ln_" not in names[id(p)] for p in decayed["params"])
    assert all(names[id(p)].endswith("bias") or "ln_" in names[id(p)] for p in rest["params"])
    assert len(decayed["params"]) + len(rest["params"]) == len(names)


OFFLOADS = {
    "ZeRO-1, optimizer": (1, {"offload_optimizer": {"device": "cpu", "pin_memory": False}}),
    "ZeRO-2, optimizer": (2, {"offload_optimizer": {"device": "cpu", "pin_memory": False}}),
    "ZeRO-3, both": (
        3,
        {
            "offload_optimizer": {"device": "cpu", "pin_memory": False},
            "offload_param": {"device": "cpu", "pin_memory": False},
        },
    ),
}


def _zero_settings(configs: list[PretrainConfig]) -> list[tuple[list[float], dict[str, Any]]]:
    """Losses of two steps, and what DeepSpeed says of its ZeRO block."""
    world = distributed.init()
    found = []
    for config in configs:
        manifest = DatasetManifest.load(config.data.path)
        samples = PackedWindows(open_data(config.data.path), LENGTH, 1)
        engine = ZeroEngine(_module(config, manifest), config, world)
        losses = []
        for step in range(3):
            start = 12 * step + 6 * world.rank
            mine = [samples.batch(np.arange(first, first + 2)) for first in range(start, start + 6, 2)]
            sums = reduce_sums(engine.train_step(mine, 0.01).sums)
            losses.append(sums["nll"])
        zero = engine._engine._config.zero_config
        devices = {
            name: getattr(getattr(zero, name), "device", None) for name in ("offload_optimizer", "offload_param")
        }
        facts = {**devices, "hpz": zero.zero_hpz_partition_size}
        found.append((losses, facts))
    return found


def test_offload_and_zero_plus_plus_reach_the_engine_and_change_no_number(small_dataset: Path) -> None:
    plain_zero = [settings(small_dataset, 2, stage, 3) for stage in (1, 2, 3)]
    offloaded = [
        settings(small_dataset, 2, stage, 3, deepspeed={"zero_optimization": block})
        for stage, block in OFFLOADS.values()
    ]
    hierarchical = settings(small_dataset, 2, 3, 3, deepspeed={"zero_optimization": {"zero_hpz_partition_size": 2}})
    for found in ranks(2, _zero_settings, [*plain_zero, *offloaded, hierarchical]):
        resident, moved, hpz = found[:3], found[3:6], found[6]
        for (losses, facts), (expected, _), (_, block) in zip(moved, resident, OFFLOADS.values(), strict=True):
            assert losses == pytest.approx(expected, abs=1e-6)
            assert {name for name, device in facts.items() if device == "cpu"} == set(block)
        assert all(facts["offload_optimizer"] is None and facts["hpz"] == 1 for _, facts in resident)
        assert hpz[1]["hpz"] == 2
        assert hpz[0] == pytest.approx(resident[2][0], abs=1e-6)


def _group_timeouts(minutes: float) -> set[float]:
    world = distributed.init(minutes)
    import deepspeed

    groups = [torch.distributed.group.WORLD, deepspeed.comm.new_group([world.rank])]
    return {group._get_backend(torch.device("cpu")).options._timeout.total_seconds() for group in groups}


def test_every_group_has_the_configured_timeout() -> None:
    assert ranks(1, _group_timeouts, 7.5) == [{450.0}]
