"""GPT-2's training step on one GPU, beside a plain PyTorch loop with torch.compile on the same model.

    python tests/benchmarks/gpu_step.py                                  124M and 1558M, T 1024, bf16
    python tests/benchmarks/gpu_step.py --model gpt2-124m --micro-batch 64 --steps 200 parallel.compile=true

For a machine with a GPU and no network: it imports no more than torch, deepspeed, pydantic, PyYAML, numpy, pyarrow and
what they bring. Tokens are random. A step takes its batches from the CPU, runs forward and backward, clips, updates,
and reads the loss every tenth time; its time is taken between two synchronisations. Prints a Markdown table;
`--json FILE` keeps every step's time.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import deepspeed  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from data_prep import configfile  # noqa: E402
from pipeline import distributed  # noqa: E402
from pipeline.config.schema import PretrainConfig  # noqa: E402
from pipeline.model.gpt import GPT  # noqa: E402
from pipeline.model.init import initialize  # noqa: E402
from pipeline.model.sizes import flops_per_token, parameter_count  # noqa: E402
from pipeline.train.deepspeed_engine import make_optimizer  # noqa: E402
from pipeline.train.throughput import peak_of  # noqa: E402
from pipeline.train.zero_engine import ZeroEngine  # noqa: E402

VOCABULARY, WARM_UP, READ_EVERY = 50_257, 20, 10
MICRO_BATCH = {"gpt2-124m": 64, "gpt2-1558m": 16}
GOAL = {"gpt2-124m": 520_000, "gpt2-1558m": 50_000}
"""Tokens per second on one H200 that would be ahead of every published figure of a peer."""

CONVENTIONS: tuple[Literal["causal", "full"], ...] = ("causal", "full")

Batch = dict[str, Tensor]
Step = Callable[[list[Batch]], Tensor]


def batches_of(config: PretrainConfig, accumulation: int) -> list[Batch]:
    """Micro-batches of random tokens on the CPU."""
    draw = torch.Generator().manual_seed(0)
    shape = (config.train.micro_batch, config.model.sequence_length + 1)
    rows = [torch.randint(0, VOCABULARY, shape, generator=draw) for _ in range(accumulation)]
    pin = torch.cuda.is_available()
    made = [{"tokens": row[:, :-1].contiguous(), "targets": row[:, 1:].contiguous()} for row in rows]
    return [{name: t.pin_memory() if pin else t for name, t in batch.items()} for batch in made]


def ours(config: PretrainConfig, world: distributed.World) -> Step:
    """The engine as pretraining uses it."""
    module = GPT(config.model, VOCABULARY, config.kernels)
    initialize(module, config.model, config.run.seed)
    engine = ZeroEngine(module, config, world)

    def step(batches: list[Batch]) -> Tensor:
        sums = engine.train_step(batches, config.optimizer.lr).sums
        return sums["nll"] / sums["targets"]

    return step


def plain(config: PretrainConfig, world: distributed.World) -> Step:
    """The same model in a loop of its own: fp32 weights, autocast to bf16, torch.compile over the whole model."""
    module = GPT(config.model, VOCABULARY, config.kernels)
    initialize(module, config.model, config.run.seed)
    module.to(world.device)
    optimizer = make_optimizer(module, config.optimizer)
    model = torch.compile(module)

    def step(batches: list[Batch]) -> Tensor:
        loss = torch.zeros((), device=world.device)
        for batch in batches:
            moved = {name: tensor.to(world.device, non_blocking=True) for name, tensor in batch.items()}
            with torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                out = model(**moved)["loss"] / len(batches)
            out.backward()
            loss += out.detach()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.optimizer.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def timed(step: Step, batches: list[Batch], steps: int, device: torch.device) -> tuple[list[float], float]:
    """Seconds of each step after the warm-up, and the peak of the device's memory in GiB."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(min(WARM_UP, steps)):
        step(batches)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for number in range(steps):
        wait()
        start = time.perf_counter()
        loss = step(batches)
        if number % READ_EVERY == 0:
            loss.item()
        wait()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    return seconds, peak


def measure(
    who: str, config: PretrainConfig, steps: int, accumulation: int, world: distributed.World
) -> dict[str, Any]:
    """One row."""
    make = {"ours": ours, "plain": plain}[who]
    seconds, peak = timed(make(config, world), batches_of(config, accumulation), steps, world.device)
    tokens = accumulation * config.train.micro_batch * config.model.sequence_length
    return {"who": who, "tokens_per_step": tokens, "seconds": seconds, "memory_gib": peak}


def shown(config: PretrainConfig, name: str, row: dict[str, Any], world: distributed.World) -> str:
    """A line of the table."""
    median = statistics.median(row["seconds"])
    p95 = sorted(row["seconds"])[int(0.95 * (len(row["seconds"]) - 1))]
    rate = row["tokens_per_step"] / median
    device = torch.cuda.get_device_name() if world.device.type == "cuda" else None
    peak = peak_of(config.log, config.precision, device)
    flops = [flops_per_token(config.model, VOCABULARY, convention) for convention in CONVENTIONS]
    shares = [f"{100 * rate * value / peak.flops:.1f} %" if peak else "-" for value in flops]
    cells = [f"{name} ({parameter_count(config.model, VOCABULARY):,})", row["who"], f"{rate:,.0f}", *shares]
    goal = f"{100 * rate / GOAL[name]:.0f} %" if name in GOAL and peak else "-"
    return " | ".join(["", *cells, f"{1000 * median:.1f}", f"{1000 * p95:.1f}", f"{row['memory_gib']:.1f}", goal, ""])


def main() -> None:
    """Measure each model, ours and plain, each with the device to itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a file of configs/pretrain; default: 124M and 1558M of GPT-2")
    parser.add_argument("--who", action="append", choices=["ours", "plain"], help="default: both")
    parser.add_argument("--micro-batch", type=int, help="default: 64 and 16")
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", help="settings, section.key=value")
    given = parser.parse_intermixed_args()
    world = distributed.init()
    results, lines = [], []
    for name in given.model or list(MICRO_BATCH):
        micro = given.micro_batch or MICRO_BATCH.get(name, 8)
        fixed = [f"train.micro_batch={micro}", f"train.global_batch={micro * given.accumulation}", "data.path=none"]
        if world.device.type == "cuda":
            fixed += ["parallel.compile=true", "precision=bf16"]
        path = str(ROOT / "configs/pretrain" / f"{name}.yaml")
        config = configfile.load(path, PretrainConfig, [*fixed, *given.overrides])
        for who in given.who or ["ours", "plain"]:
            row = measure(who, config, given.steps, given.accumulation, world)
            results.append({"model": name, **row})
            lines.append(shown(config, name, row, world))
            print(lines[-1], flush=True)
            torch._dynamo.reset()
            if world.device.type == "cuda":
                torch.cuda.empty_cache()
    device = torch.cuda.get_device_name() if world.device.type == "cuda" else platform.processor() or "CPU"
    versions = {"torch": torch.__version__, "deepspeed": deepspeed.__version__, "cuda": torch.version.cuda}
    print(f"\n{device}; Python {platform.python_version()}, {', '.join(f'{k} {v}' for k, v in versions.items())}\n")
    conventions = " | ".join(f"MFU, {convention}" for convention in CONVENTIONS)
    head = f"| model | who | tokens/s | {conventions} | median ms | p95 ms | GiB | of the goal |"
    print("\n".join([head, "|" + " --- |" * head.count(" | ") + " --- |", *(line.strip() for line in lines)]))
    if given.json:
        given.json.write_text(json.dumps({"device": device, **versions, "results": results}, indent=1))
    distributed.shutdown()


if __name__ == "__main__":
    main()
