"""Whichever way DeepSpeed trains, an update that is not finite on one rank changes nothing on any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from engine_state import whole_state
from faults import CHANGES, Change, change_loss
from harness import ranks
from small_model import pretrain_config

from pipeline import distributed
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import PackedWindows
from pipeline.data.sources import open_data
from pipeline.train.build import build_engine

CASES: dict[str, dict[str, Any]] = {
    **{f"ZeRO-{stage}": {"parallel": {"zero_stage": stage}} for stage in range(4)},
    **{f"ZeRO-{stage}, bf16": {"precision": "bf16", "parallel": {"zero_stage": stage}} for stage in (1, 2, 3)},
    "pipeline": {"parallel": {"pipeline": 2}},
    "tensor": {"parallel": {"tensor": 2}},
}


HOW = ("nan", "infinite loss")
Found = tuple[list[float], bool, Any]


def _steps(config: PretrainConfig, how: str | None) -> Found:
    """A good step, a bad one on the last rank if wanted, another good one.

    Gives the gradient norms, whether the bad step left the state as it was, and the state at the end.
    """
    world = distributed.init()
    data = open_data(config.data.path)
    engine = build_engine(config, data.vocab_size, world)
    now: list[Change | None] = [None]
    change_loss(engine, lambda: now[0])
    samples = PackedWindows(data, config.model.sequence_length, 7)
    norms, states = [], []
    for bad in (False, True, False) if how else (False, False):
        now[0] = CHANGES[how] if bad and how and world.rank == world.size - 1 else None
        torch.manual_seed(1)
        mine = np.arange(2) + 2 * engine.data_parallel_rank
        norms.append(float(engine.train_step([samples.batch(mine)] * 2, 1e-2).grad_norm))
        states.append(whole_state(engine))
    same = all(np.array_equal(states[0][k][n], states[1][k][n]) for k in states[0] for n in states[0][k])
    return norms, same, states[-1]


def _all(configs: list[PretrainConfig]) -> list[dict[str | None, Found]]:
    world = distributed.init()
    distributed.init = lambda *_: world  # type: ignore[assignment]
    return [{how: _steps(config, how) for how in (None, *HOW)} for config in configs]


@pytest.fixture(scope="module")
def trained(small_dataset: Any) -> dict[str, dict[str | None, Found]]:
    configs = [
        pretrain_config(small_dataset, small_dataset, train={"global_batch": 8, "micro_batch": 2}, **case)
        for case in CASES.values()
    ]
    return dict(zip(CASES, ranks(2, _all, configs)[0], strict=True))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("case", CASES)
def test_it_is_as_though_the_step_had_not_been(trained: Any, case: str, how: str) -> None:
    expected_norms, learned_nothing, expected = trained[case][None]
    (first, spoiled, second), same, state = trained[case][how]
    assert [first, second] == expected_norms
    assert not np.isfinite(spoiled)
    assert same
    assert not learned_nothing
    for kind, values in expected.items():
        for name, value in values.items():
            np.testing.assert_array_equal(state[kind][name], value, err_msg=f"{kind} {name}")
