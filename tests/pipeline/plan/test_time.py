from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.cluster import ClusterConfig
from pipeline.config.gpus import GPUS
from pipeline.config.parallel import ParallelConfig
from pipeline.model.sizes import flops_per_token, parameter_count
from pipeline.plan.job import Job
from pipeline.plan.published import fitted, gpt, runs
from pipeline.plan.time import (
    LINK_SHARE,
    Framework,
    all_reduce,
    bubble_share,
    data_seconds,
    recomputed_flops,
    stage_flops,
    step_seconds,
    step_time,
)

NODE = ClusterConfig()
ERROR = 0.25
"""Of predicted step times, as docs/plan.md states it."""


def job(world: int = 8, batch: int = 64, **parallel: object) -> Job:
    return Job(gpt(24, 16, 2048), 50_304, 1, batch, world, ParallelConfig.model_validate(parallel))


@pytest.mark.parametrize("run", [run for run in runs() if run.name != "nanoGPT 124M"], ids=lambda run: run.name)
def test_published_runs_are_within_the_stated_error(run) -> None:  # type: ignore[no-untyped-def]
    assert abs(run.error) < ERROR
    # The implied share is the one with which the prediction is right.
    right = replace(run, cluster=run.cluster.model_copy(update={"efficiency": run.implied}))
    assert right.predicted == pytest.approx(run.seconds, rel=1e-6)


def test_the_catalogue_holds_what_was_fitted() -> None:
    found = fitted()
    assert GPUS["a100-80gb"].efficiency == GPUS["a100-40gb"].efficiency == pytest.approx(found["a100"], abs=0.015)
    assert GPUS["h100-80gb"].efficiency == pytest.approx(found["h100"], abs=0.015)


@pytest.mark.parametrize(
    ("layers", "heads", "width", "head", "table"),
    # Brown et al. 2020, Table D.1: total training compute in FLOPs for 300 billion tokens.
    [
        (12, 12, 768, 64, 2.25e20),
        (24, 16, 1024, 64, 6.41e20),
        (24, 16, 1536, 96, 1.37e21),
        (24, 16, 2048, 128, 2.38e21),
        (32, 32, 2560, 80, 4.77e21),
        (32, 32, 4096, 128, 1.20e22),
        (40, 40, 5120, 128, 2.31e22),
        (96, 96, 12288, 128, 3.14e23),
    ],
)
def test_gpt3_compute_table(layers: int, heads: int, width: int, head: int, table: float) -> None:
    model = gpt(layers, heads, width)
    assert model.head_width == head
    assert 6 * parameter_count(model, 50_257) * 300e9 == pytest.approx(table, rel=0.01)


def test_stages_do_the_flops_of_the_model() -> None:
    one = job()
    # All but norms, biases and positions, which `flops_per_token` counts as if they were matrices.
    assert stage_flops(one) == pytest.approx(flops_per_token(one.model, one.vocab_size), rel=0.005)
    half = job(pipeline=2)
    head = 6 * half.rows * half.model.d_model
    assert 2 * (stage_flops(half) - head) + head == pytest.approx(stage_flops(one))


def test_recomputation_costs_a_forward_pass_or_a_product() -> None:
    block = stage_flops(job()) - 6 * 50_304 * 2048
    whole = recomputed_flops(job(activation_checkpointing="full"), Framework(early_stop=False))
    assert whole * 24 == pytest.approx(block / 3)
    product = 8 * 2048**2
    assert recomputed_flops(job(activation_checkpointing="full")) == whole - product
    assert recomputed_flops(job(activation_checkpointing="selective")) == product
    assert recomputed_flops(job(activation_checkpointing=3)) == pytest.approx((whole - product) / 3)
    assert recomputed_flops(job()) == 0


def test_bubble_of_the_papers_schedules() -> None:
    assert bubble_share(1, 8) == 0
    assert bubble_share(24, 192) == pytest.approx(0.107, abs=1e-3)
    assert bubble_share(8, 64, 3) == pytest.approx(7 / 199)


@given(pipeline=st.sampled_from([2, 4, 8]), batch=st.sampled_from([8, 64, 256]))
def test_the_bubble_is_its_share_of_a_step(pipeline: int, batch: int) -> None:
    one = job(batch=batch, pipeline=pipeline)
    parts = step_time(one, NODE)
    assert parts.bubble / (parts.total - parts.data) == pytest.approx(bubble_share(pipeline, one.micro_batches))


def test_collectives_of_each_zero_stage() -> None:
    bandwidth = LINK_SHARE * GPUS["h100-80gb"].link_gb * 1e9
    one = job()
    half = all_reduce(2 * parameter_count(one.model, one.rows), 8, bandwidth) / 2
    assert half == pytest.approx(2 * parameter_count(one.model, one.rows) * 7 / 8 / bandwidth)
    for stage, times in ((1, 3), (2, 8 + 1), (3, 3 * 8)):
        assert data_seconds(job(zero_stage=stage), NODE) == pytest.approx(times * half)
    assert data_seconds(job(world=1), ClusterConfig(gpus_per_node=1)) == 0


def test_a_slower_network_matters_between_nodes_only() -> None:
    slow = {"network_gbit": 10.0}
    assert step_seconds(job(tensor=8), NODE) == step_seconds(job(tensor=8), ClusterConfig(**slow))  # type: ignore[arg-type]
    for shape in ({"zero_stage": 1}, {"pipeline": 2, "tensor": 8}, {"pipeline": 4}):
        two = job(world=16, **shape)
        assert step_seconds(two, ClusterConfig(nodes=2, **slow)) > step_seconds(two, ClusterConfig(nodes=2))  # type: ignore[arg-type]


def test_a_stated_utilisation_is_taken_as_it_is() -> None:
    one = job()
    seconds = step_seconds(one, ClusterConfig(mfu=0.4))
    flops = flops_per_token(one.model, one.vocab_size) * one.step_tokens
    assert flops / seconds / (8 * 989e12) == pytest.approx(0.4)
