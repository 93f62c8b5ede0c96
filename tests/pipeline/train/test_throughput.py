from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import ranks

from pipeline import distributed
from pipeline.config.schema import LogConfig
from pipeline.train import throughput
from pipeline.train.throughput import Meter, Peak, mfu, peak_of


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
    ],
)
def test_peaks_by_name(name: str, flops: float) -> None:
    assert peak_of(LogConfig(), "bf16", name) == Peak(flops, f"{name}, dense bf16")


def test_no_peak_is_made_up() -> None:
    assert peak_of(LogConfig(), "bf16", None) is None
    for name in ("Another GPU", "NVIDIA GB200", "NVIDIA GeForce RTX 4090 Laptop GPU"):
        assert peak_of(LogConfig(), "bf16", name) is None
    assert peak_of(LogConfig(), "fp32", "NVIDIA H200") is None  # the known peaks are of bf16
    assert peak_of(LogConfig(peak_flops=5e9), "fp32", None) == Peak(5e9, "log.peak_flops")


def test_mfu_by_both_conventions() -> None:
    """llm.c's 124M on an A100: 178k tokens/s x 8.6e8 FLOPs is about half of 312 TFLOP/s."""
    found = mfu({"mfu": 8.0e8, "mfu_full_attention": 8.6e8}, 178_000, 312e12)
    assert found == pytest.approx({"mfu": 0.4564, "mfu_full_attention": 0.4906}, abs=1e-4)


def _lap() -> dict[str, float]:
    world = distributed.init()
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    throughput.time.perf_counter = lambda: now
    meter = Meter(world, Peak(1e6, "test"), {"mfu": 10.0})
    meter.begin(1000)

    def batches() -> Iterator[int]:
        spend(3.0 * world.rank)
        yield 1

    for _ in meter.waiting_for(batches()):
        spend(4.0 - 3.0 * world.rank)
    with meter.paused():
        spend(100.0)
    return meter.lap("tokens", 1600)


def test_a_lap_of_two_ranks() -> None:
    """What is paused does not count; waiting is that of the rank that waits longest."""
    for found in ranks(2, _lap):
        memory = found.pop("memory_gib")
        assert found == pytest.approx({"tokens_per_s": 150.0, "data_wait": 0.75, "mfu": 10 * 150 / 2e6})
        assert 0.05 < memory < 50
