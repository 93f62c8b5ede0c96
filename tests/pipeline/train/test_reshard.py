"""A state saved under one topology goes on under the same one bit for bit, and under any other as if nothing were."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler
from engine_state import Whole, open_state, save_state, whole_state
from harness import ranks
from small_model import model_config, plain_optimizer, plain_steps, pretrain_config, random_tokens

from data_prep.errors import CorruptFile
from pipeline import distributed
from pipeline.checkpoint.pieces import KINDS, state_file
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import Batch
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.train.build import build_engine
from pipeline.train.engine import Engine, reduce_sums

VOCAB, LENGTH, BATCH = 97, 16, 12
"""The vocabulary is padded to 100 rows, which two tensor-parallel ranks share: the second has the padding."""
RATES = (0.004, 0.01, 0.008, 0.003)
SAVED_AT = 2
CPU = {"device": "cpu", "pin_memory": False}


@dataclass(frozen=True)
class Topology:
    """`micro_batch` is a rank's; the accumulation follows from it, 12 samples a step."""

    name: str
    micro_batch: int
    zero: int = 1
    pipeline: int = 1
    tensor: int = 1
    data: int = 1
    precision: str = "fp32"
    zero_options: tuple[tuple[str, Any], ...] = ()

    @property
    def ranks(self) -> int:
        return self.pipeline * self.tensor * self.data


TOPOLOGIES = {
    one.name: one
    for one in (
        Topology("ZeRO-0", 12, zero=0),
        Topology("ZeRO-1", 6, zero=1),
        Topology("ZeRO-2", 12, zero=2),
        Topology("ZeRO-3", 4, zero=3),
        Topology("ZeRO-2, offload", 12, zero=2, zero_options=(("offload_optimizer", CPU),)),
        Topology("ZeRO-3, offload", 6, zero=3, zero_options=(("offload_optimizer", CPU), ("offload_param", CPU))),
        Topology("ZeRO-0, DP 2", 6, zero=0, data=2),
        Topology("ZeRO-1, DP 2", 3, zero=1, data=2),
        Topology("ZeRO-2, DP 2", 6, zero=2, data=2),
        Topology("ZeRO-3, DP 2", 6, zero=3, data=2),
        Topology("ZeRO-2, DP 2, round robin", 3, zero=2, data=2, zero_options=(("round_robin_gradients", True),)),
        Topology("PP 2", 6, pipeline=2),
        Topology("TP 2", 12, tensor=2),
        Topology("PP 2, TP 2", 6, pipeline=2, tensor=2),
        Topology("PP 2, DP 2", 3, pipeline=2, data=2),
        Topology("TP 2, DP 2", 6, tensor=2, data=2),
        Topology("bf16 ZeRO-1", 12, zero=1, precision="bf16"),
        Topology("bf16 ZeRO-3", 6, zero=3, precision="bf16"),
        Topology("bf16 ZeRO-2, DP 2", 6, zero=2, data=2, precision="bf16"),
        Topology("bf16 PP 2", 6, pipeline=2, precision="bf16"),
    )
}
SOURCES = {
    "ZeRO-0": ["ZeRO-1", "ZeRO-3, DP 2", "TP 2"],
    "ZeRO-1": ["ZeRO-0", "ZeRO-2", "ZeRO-3", "ZeRO-1, DP 2", "ZeRO-3, offload", "PP 2", "TP 2", "PP 2, TP 2"],
    "ZeRO-2": ["ZeRO-1", "ZeRO-3", "ZeRO-2, DP 2", "ZeRO-2, DP 2, round robin", "PP 2"],
    "ZeRO-3": ["ZeRO-0", "ZeRO-1", "ZeRO-2", "ZeRO-3, DP 2", "PP 2, TP 2"],
    "ZeRO-2, offload": ["ZeRO-3, offload", "ZeRO-1, DP 2"],
    "ZeRO-3, offload": ["ZeRO-2, offload", "ZeRO-3, DP 2"],
    "ZeRO-0, DP 2": ["ZeRO-0", "ZeRO-2, DP 2"],
    "ZeRO-1, DP 2": ["ZeRO-1", "ZeRO-2, DP 2", "ZeRO-3, DP 2", "PP 2, DP 2", "TP 2, DP 2"],
    "ZeRO-2, DP 2": ["ZeRO-2", "ZeRO-1, DP 2", "ZeRO-3, DP 2", "ZeRO-2, DP 2, round robin"],
    "ZeRO-3, DP 2": ["ZeRO-3", "ZeRO-1, DP 2", "ZeRO-2, DP 2", "TP 2"],
    "ZeRO-2, DP 2, round robin": ["ZeRO-1", "ZeRO-2, DP 2"],
    "PP 2": ["ZeRO-1", "TP 2", "PP 2, DP 2", "PP 2, TP 2", "ZeRO-3, DP 2"],
    "TP 2": ["ZeRO-1", "PP 2", "TP 2, DP 2", "PP 2, TP 2", "ZeRO-0, DP 2"],
    "PP 2, TP 2": ["PP 2", "TP 2", "PP 2, DP 2", "TP 2, DP 2", "ZeRO-3"],
    "PP 2, DP 2": ["PP 2", "ZeRO-1, DP 2", "PP 2, TP 2"],
    "TP 2, DP 2": ["TP 2", "ZeRO-1, DP 2", "PP 2, TP 2"],
    "bf16 ZeRO-1": ["bf16 ZeRO-3", "bf16 PP 2"],
    "bf16 ZeRO-3": ["bf16 ZeRO-1", "bf16 ZeRO-2, DP 2"],
    "bf16 ZeRO-2, DP 2": ["bf16 ZeRO-1", "bf16 ZeRO-3"],
    "bf16 PP 2": ["bf16 ZeRO-1", "bf16 ZeRO-2, DP 2"],
}
"""Topology -> those whose state it takes over; it takes its own, too."""
Result = dict[str, Any]


def settings(topology: Topology) -> PretrainConfig:
    return pretrain_config(
        Path("data"),
        Path("runs"),
        model=model_config(vocab_multiple=20).model_dump(),
        parallel={"zero_stage": topology.zero, "pipeline": topology.pipeline, "tensor": topology.tensor},
        precision=topology.precision,
        train={"global_batch": BATCH, "micro_batch": topology.micro_batch},
        # An eps well above rounding noise: Adam would turn noise around a zero gradient into steps of full size.
        optimizer={"lr": 1.0, "grad_clip": 0.5, "weight_decay": 0.3, "eps": 1e-4},
        deepspeed={"zero_optimization": dict(topology.zero_options)},
    )


def samples(step: int) -> Batch:
    tokens = random_tokens((BATCH, LENGTH + 1), VOCAB, seed=step)
    return {"tokens": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}


def micro_batches(engine: Engine, topology: Topology, step: int) -> list[Batch]:
    mine = np.split(np.arange(BATCH), topology.data)[engine.data_parallel_rank]
    batch = samples(step)
    return [{k: v[piece] for k, v in batch.items()} for piece in np.split(mine, len(mine) // topology.micro_batch)]


def goes_on(engine: Engine, topology: Topology, steps: range) -> Result:
    """Losses and norms of some steps, and the state after them."""
    losses, norms = [], []
    for step in steps:
        result = engine.train_step(micro_batches(engine, topology, step), RATES[step])
        sums = reduce_sums(result.sums)
        losses.append(sums["nll"] / sums["targets"])
        norms.append(float(result.grad_norm))
    return {"losses": losses, "norms": norms, "state": whole_state(engine)}


def poison(engine: Engine, topology: Topology) -> None:
    """Steps after which nothing in the engine is a number any more, its padding included."""
    for step in range(2):
        engine.train_step(micro_batches(engine, topology, step), math.nan)


def saved(names: list[str], folder: Path) -> list[Result]:
    """Train each topology, save its state in mid-run, and go back to it and to the start."""
    world = distributed.init()
    results = []
    for name in names:
        topology = TOPOLOGIES[name]
        engine = build_engine(settings(topology), VOCAB, world)
        start = save_state(engine, folder / name / "start")
        first = goes_on(engine, topology, range(SAVED_AT))
        scalars = save_state(engine, folder / name / "middle")
        rest = goes_on(engine, topology, range(SAVED_AT, len(RATES)))
        poison(engine, topology)
        engine.load_state(open_state(folder / name / "middle", scalars))
        again = goes_on(engine, topology, range(SAVED_AT, len(RATES)))
        engine.load_state(open_state(folder / name / "start", start))
        from_start = goes_on(engine, topology, range(SAVED_AT))
        results.append(
            {
                "scalars": (start, scalars),
                "first": first,
                "rest": rest,
                "again": again,
                "from start": from_start,
            }
        )
    return results


def taken_over(names: list[str], folder: Path, scalars: dict[str, Any]) -> list[dict[str, Result]]:
    """Of each topology: source -> how it goes on from there, the first before it has made a step itself."""
    world = distributed.init()
    results = []
    for name in names:
        topology = TOPOLOGIES[name]
        engine = build_engine(settings(topology), VOCAB, world)
        found = {}
        for source in [name, *SOURCES[name]]:
            engine.load_state(open_state(folder / source / "middle", scalars))
            state = whole_state(engine)
            found[source] = {"loaded": state, **goes_on(engine, topology, range(SAVED_AT, len(RATES)))}
        results.append(found)
    return results


def by_size() -> Iterator[tuple[int, list[str]]]:
    """(number of ranks, topologies): pipelines last, since DeepSpeed makes no plain engine in a process after one."""
    for size in (1, 2, 4):
        names = [name for name, one in TOPOLOGIES.items() if one.ranks == size]
        yield size, sorted(names, key=lambda name: TOPOLOGIES[name].pipeline * TOPOLOGIES[name].tensor)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Result]:
    """Topology -> what rank 0 saw; every topology of a number of ranks in one group of processes."""
    found: dict[str, Result] = {}
    for size, names in by_size():
        found |= zip(names, ranks(size, saved, names, folder)[0], strict=True)
    return found


@pytest.fixture(scope="module")
def continued(folder: Path, runs: dict[str, Result]) -> dict[str, dict[str, Result]]:
    found: dict[str, dict[str, Result]] = {}
    scalars = runs["ZeRO-1"]["scalars"][1]
    for size, names in by_size():
        found |= zip(names, ranks(size, taken_over, names, folder, scalars)[0], strict=True)
    return found


@pytest.fixture(scope="module")
def plain() -> Result:
    """The same training without DeepSpeed, never interrupted."""
    config = settings(TOPOLOGIES["ZeRO-1"])
    module = GPT(config.model, VOCAB)
    initialize(module, config.model, config.run.seed)
    optimizer = plain_optimizer(module, config.optimizer)
    batches = (samples(step) for step in range(len(RATES)))
    losses, norms = plain_steps(module, optimizer, config.optimizer.grad_clip, batches, RATES)
    state: Whole = {kind: {} for kind in KINDS}
    for name, parameter in module.named_parameters():
        tensors = {"weight": parameter.detach(), **optimizer.state[parameter]}
        for kind in KINDS:
            state[kind][name] = tensors[kind][: VOCAB if name == "transformer.wte.weight" else None].numpy()
    return {"losses": losses[SAVED_AT:], "norms": norms[SAVED_AT:], "state": state}


def assert_same_state(found: Whole, expected: Whole) -> None:
    for kind in KINDS:
        assert found[kind].keys() == expected[kind].keys()
        for name, value in expected[kind].items():
            assert np.array_equal(found[kind][name], value), (kind, name)


def assert_same(found: Result, expected: Result) -> None:
    assert (found["losses"], found["norms"]) == (expected["losses"], expected["norms"])
    assert_same_state(found["state"], expected["state"])


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_an_engine_goes_back_to_what_it_was(runs: dict[str, Result], name: str) -> None:
    """In mid-run, after steps that left no number in it; bit for bit."""
    found = runs[name]
    assert found["scalars"] == tuple({"adam_step": step, "loss_scaler": None} for step in (0, SAVED_AT))
    assert_same(found["again"], found["rest"])
    assert_same(found["from start"], found["first"])
    weights = found["first"]["state"]["weight"]
    assert weights["transformer.wte.weight"].shape == (VOCAB, 16)
    assert any(not np.array_equal(value, found["rest"]["state"]["weight"][name]) for name, value in weights.items())


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_new_engine_goes_on_exactly(
    runs: dict[str, Result], continued: dict[str, dict[str, Result]], name: str
) -> None:
    assert_same(continued[name][name], runs[name]["rest"])


@pytest.mark.parametrize(("name", "source"), [(name, one) for name, several in SOURCES.items() for one in several])
def test_another_topology_goes_on(
    runs: dict[str, Result], continued: dict[str, dict[str, Result]], plain: Result, name: str, source: str
) -> None:
    found = continued[name][source]
    assert_same_state(found["loaded"], runs[source]["first"]["state"])
    if TOPOLOGIES[name].precision == "bf16":
        # 8 bits of mantissa: other micro-batches round otherwise.
        np.testing.assert_allclose(found["losses"], runs[source]["rest"]["losses"], rtol=0, atol=0.005)
        return
    for expected in (plain, runs[source]["rest"]):
        np.testing.assert_allclose(found["losses"], expected["losses"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found["norms"], expected["norms"], rtol=1e-5)
        for kind in KINDS:
            assert found["state"][kind].keys() == expected["state"][kind].keys()
            for key, value in expected["state"][kind].items():
                np.testing.assert_allclose(
                    found["state"][kind][key], value, rtol=0, atol=2e-6, err_msg=f"{kind} of {key}"
                )


def test_every_kind_of_change_is_covered() -> None:
    changes = set()
    for name, several in SOURCES.items():
        for source in several:
            one, other = TOPOLOGIES[source], TOPOLOGIES[name]
            assert one.precision == other.precision
            changes |= {
                (field, getattr(one, field), getattr(other, field)) for field in ("zero", "data", "pipeline", "tensor")
            }
    for stage in (1, 2, 3):
        assert {("zero", stage, other) for other in (1, 2, 3)} <= changes
    for field in ("data", "pipeline", "tensor"):
        assert {(field, 1, 2), (field, 2, 1)} <= changes


def _without_a_file(folder: Path, scalars: dict[str, Any]) -> str:
    engine = build_engine(settings(TOPOLOGIES["ZeRO-2, DP 2"]), VOCAB, distributed.init())
    reader = open_state(folder, scalars)
    if engine.data_parallel_rank == 0:
        reader._pieces.pop("transformer.wte.weight")
    try:
        engine.load_state(reader)
    except CorruptFile as error:
        return str(error)
    return ""


def test_what_one_rank_does_not_find_is_raised_on_all(runs: dict[str, Result], folder: Path) -> None:
    middle = folder / "ZeRO-1" / "middle"
    assert (middle / state_file(0)).is_file()
    for message in ranks(2, _without_a_file, middle, runs["ZeRO-1"]["scalars"][1]):
        assert "the checkpoint holds nothing of transformer.wte.weight" in message


def _loss_scale(folder: Path) -> list[dict[str, Any]]:
    """The CPU has no fp16: a scaler is put where DeepSpeed has it then."""
    world = distributed.init()
    found = []
    scalars: dict[str, Any] = {}
    for overflows in ((True, False, True, False, False), ()):
        engine: Any = build_engine(settings(TOPOLOGIES["ZeRO-1"]), VOCAB, world)
        scaler = DynamicLossScaler(
            2.0**16, 2, 1, 2, False, raise_error_at_min_scale=False
        )  # doubles after 2 steps, halves at the second overflow
        engine._fragments._scaler = scaler
        for overflow in overflows:
            scaler.update_scale(overflow)
        if overflows:
            scalars = save_state(engine, folder)
        else:
            engine.load_state(open_state(folder, scalars))
        before = dict(vars(scaler))
        trail = []
        for overflow in (False, False, True, True, False, False, False):
            scaler.update_scale(overflow)
            trail.append(scaler.loss_scale)
        found.append({"before": before, "trail": trail})
    return found


def test_the_loss_scale_of_fp16_goes_on(tmp_path: Path) -> None:
    ((first, second),) = ranks(1, _loss_scale, tmp_path)
    assert first["before"] == second["before"]
    assert first["before"]["cur_scale"] == 2.0**15
    assert first["trail"] == second["trail"]
