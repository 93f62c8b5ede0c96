"""Runs that others published, to hold the formulas against."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.config.cluster import ClusterConfig
from pipeline.config.model import ModelConfig
from pipeline.config.parallel import ParallelConfig
from pipeline.plan.job import Job
from pipeline.plan.memory import memory
from pipeline.plan.time import OURS, Framework, step_time

NARAYANAN = "Narayanan et al. 2021 (2104.04473), Table 1"
KORTHIKANTI = "Korthikanti et al. 2022 (2205.05198), Table 5, full recomputation"
MEGATRON = Framework(scattered=True, early_stop=False)


@dataclass(frozen=True)
class Published:
    """A run.

    Attributes:
        name: for tables.
        source: where the figure stands.
        job: the run.
        cluster: where it ran.
        seconds: of one optimizer step, as published or as it follows from the published figure.
        framework: in what it differs from this project.
    """

    name: str
    source: str
    job: Job
    cluster: ClusterConfig
    seconds: float
    framework: Framework = OURS

    @property
    def predicted(self) -> float:
        """Seconds of one optimizer step by our formulas."""
        return step_time(self.job, self.cluster, self.framework).total

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was published; positive if it is too slow."""
        return self.predicted / self.seconds - 1

    @property
    def implied(self) -> float:
        """The share of the peak with which the prediction would be right."""
        parts = step_time(self.job, self.cluster, self.framework)
        stages, pieces = self.job.parallel.pipeline, self.framework.interleave * self.job.micro_batches
        fill = 1 + (stages - 1) / pieces  # every micro-batch's work, and the bubble made of it
        others = fill * (parts.tensor + parts.pipeline) + parts.data
        return self.cluster.reached * fill * parts.compute / (self.seconds - others)


def gpt(layers: int, heads: int, width: int, time: int = 2048) -> ModelConfig:
    """A GPT-2-like shape."""
    return ModelConfig(n_layer=layers, n_head=heads, d_model=width, sequence_length=time)


def _megatron(
    name: str,
    shape: ModelConfig,
    tensor: int,
    pipeline: int,
    gpus: int,
    batch: int,
    tflops: float,
) -> Published:
    """A row of Narayanan's table, which counts 96 B s l h^2 (1 + s / 6h + V / 16lh) FLOPs, recomputation included."""
    length, layers, width, vocab = shape.sequence_length, shape.n_layer, shape.d_model, 51_200
    flops = 96 * batch * length * layers * width**2 * (1 + length / (6 * width) + vocab / (16 * layers * width))
    parallel = ParallelConfig(tensor=tensor, pipeline=pipeline, activation_checkpointing="full")
    job = Job(shape, vocab, 1, batch, gpus, parallel, "fp16")
    cluster = ClusterConfig(gpu="a100-80gb", nodes=gpus // 8)
    return Published(f"Megatron-LM {name}", NARAYANAN, job, cluster, flops / (gpus * tflops * 1e12), MEGATRON)


def _recomputing(
    name: str, shape: ModelConfig, pipeline: int, gpus: int, batch: int, seconds: float, micro: int = 1
) -> Published:
    parallel = ParallelConfig(tensor=8, pipeline=pipeline, activation_checkpointing="full")
    job = Job(shape, 51_200, micro, batch, gpus, parallel, "fp16")
    framework = Framework(3 if pipeline > 1 else 1, scattered=True, early_stop=False)
    cluster = ClusterConfig(gpu="a100-80gb", nodes=gpus // 8)
    return Published(f"Megatron-LM {name}", KORTHIKANTI, job, cluster, seconds, framework)


def _node(name: str, source: str, gpu: str, shape: ModelConfig, micro: int, batch: int, seconds: float) -> Published:
    """A data-parallel run on a node of 8."""
    job = Job(shape, 50_304, micro, batch, 8)
    return Published(name, source, job, ClusterConfig(gpu=gpu), seconds)


def runs() -> Iterator[Published]:
    """Every run of the table."""
    yield _megatron("1.7B", gpt(24, 24, 2304), 1, 1, 32, 512, 137)
    yield _megatron("3.6B", gpt(30, 32, 3072), 2, 1, 64, 512, 138)
    yield _megatron("7.5B", gpt(36, 32, 4096), 4, 1, 128, 512, 142)
    yield _megatron("18.4B", gpt(40, 48, 6144), 8, 1, 256, 1024, 135)
    yield _megatron("39.1B", gpt(48, 64, 8192), 8, 2, 512, 1536, 138)
    yield _megatron("76.1B", gpt(60, 80, 10240), 8, 4, 1024, 1792, 140)
    yield _megatron("145.6B", gpt(80, 96, 12288), 8, 8, 1536, 2304, 148)
    yield _megatron("310.1B", gpt(96, 128, 16384), 8, 16, 1920, 2160, 155)
    yield _megatron("529.6B", gpt(105, 128, 20480), 8, 35, 2520, 2520, 163)
    yield _megatron("1008B", gpt(128, 160, 25600), 8, 64, 3072, 3072, 163)
    yield _recomputing("22B", gpt(48, 64, 6144), 1, 8, 4, 1.42, micro=4)
    yield _recomputing("175B", gpt(96, 96, 12288), 8, 64, 64, 18.13)
    yield _recomputing("530B", gpt(105, 128, 20480), 35, 280, 280, 49.05)
    yield _recomputing("1T", gpt(128, 160, 25600), 64, 512, 512, 94.42)
    yield _bloom()
    yield _mt_nlg()
    small, xl = gpt(12, 12, 768, 1024), gpt(48, 25, 1600, 1024)
    yield _node("llm.c 124M", "llm.c discussion 481", "a100-80gb", small, 64, 512, 0.300)
    yield _node(
        "nanoGPT 124M", "nanoGPT README: 300B tokens in 4 days", "a100-40gb", small, 12, 480, 480 * 1024 / 864e3
    )
    yield _node("llm.c 124M", "llm.c: 10B tokens in 45 minutes", "h100-80gb", small, 64, 512, 512 * 1024 / 3.8e6)
    yield _node("llm.c 1558M", "llm.c discussion 677", "h100-80gb", xl, 16, 1024, 2.80)


def _bloom() -> Published:
    """BLOOM: the figure counts as Narayanan's does, recomputation included; 4 links of 100 Gbit/s for 8 GPUs."""
    shape, vocab, batch, gpus = gpt(70, 112, 14336), 250_880, 2048, 384
    length, layers, width = shape.sequence_length, shape.n_layer, shape.d_model
    flops = 96 * batch * length * layers * width**2 * (1 + length / (6 * width) + vocab / (16 * layers * width))
    # 70 blocks, embedding and head were dealt out to 12 stages as 72 blocks: 5 at the ends. Planned with 5 everywhere,
    # since the last stage, 5 and the head, is the slowest, and the first, 5 and the embedding, the largest.
    dealt = gpt(60, 112, 14336)
    parallel = ParallelConfig(tensor=4, pipeline=12, activation_checkpointing="full")
    job = Job(dealt, vocab, 2, batch, gpus, parallel)
    cluster = ClusterConfig(gpu="a100-80gb", nodes=48, network_gbit=50)
    return Published(
        "BLOOM 176B",
        "BigScience: about 150 TFLOP/s",
        job,
        cluster,
        flops / (gpus * 150e12),
        Framework(early_stop=False),
    )


def _mt_nlg() -> Published:
    """Smith et al. 2022 (2201.11990), 2.4."""
    parallel = ParallelConfig(tensor=8, pipeline=35, activation_checkpointing="full")
    job = Job(gpt(105, 128, 20480), 51_200, 1, 1920, 2240, parallel)
    return Published(
        "MT-NLG 530B",
        "Smith et al. 2022 (2201.11990), 2.4",
        job,
        ClusterConfig(gpu="a100-80gb", nodes=280),
        60.1,
        MEGATRON,
    )


def bloom_memory() -> tuple[float, float]:
    """(GB of each GPU that BigScience states, GB by our formulas) for BLOOM."""
    return 60.0, max(one.total for one in memory(_bloom().job)) / 1e9


def fitted() -> dict[str, float]:
    """GPU family -> median share of the peak that its rows imply."""
    found: dict[str, list[float]] = {}
    for run in runs():
        found.setdefault(run.cluster.gpu.split("-")[0], []).append(run.implied)
    return {name: statistics.median(values) for name, values in found.items()}


def table() -> str:
    """The runs as a Markdown table, one row each."""
    lines = ["| run | GPUs | published, s a step | predicted | error | share of the peak it implies | source |"]
    lines.append("|---|---|---|---|---|---|---|")
    for run in runs():
        lines.append(
            f"| {run.name} | {run.job.world_size} {run.cluster.gpu} | {run.seconds:.3g} | {run.predicted:.3g} | "
            f"{100 * run.error:+.0f} % | {run.implied:.2f} | {run.source} |"
        )
    return "\n".join(lines)
