"""A plan as text for people and as data for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.plan.memory import Memory
from pipeline.plan.plan import Plan, Planned
from pipeline.plan.topology import Choice

GIB = 2**30
SHOWN = 5
"""Topologies in the table of those that fit."""


def duration(seconds: float) -> str:
    """90.0 -> "1.5 minutes"."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.3g} s"


def topology_name(one: Choice) -> str:
    """One topology in a few words."""
    parallel = one.job.parallel
    split = f"PP {parallel.pipeline} x TP {parallel.tensor} x " if parallel.model_parallel > 1 else ""
    return (
        f"ZeRO-{parallel.zero_stage}, {split}DP {one.job.data_parallel}, checkpointing "
        f"{parallel.activation_checkpointing}, micro-batch {one.job.micro_batch}"
    )


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned rows, the first column to the left."""
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
    for row in [head, *rows]:
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join([first, *rest])


def _memory(stages: Sequence[Memory], usable: int) -> Iterator[str]:
    shown = sorted({0, len(stages) // 2, len(stages) - 1})
    names = list(stages[0].parts())
    heads = ["GiB a rank", *(f"stage {one}" if len(stages) > 1 else "" for one in shown)]
    yield from columns(heads, [[name, *(f"{stages[one].parts()[name] / GIB:.1f}" for one in shown)] for name in names])
    yield f"  of {usable / GIB:.1f} GiB; activations with the larger of recomputed and logits, or buffers"


def _planned(planned: Planned, usable: int) -> Iterator[str]:
    one, parts = planned.choice, planned.parts
    yield f"{topology_name(one)}: {'fits' if one.fits else 'DOES NOT FIT'}"
    yield from _memory(planned.stages, usable)
    shares = ", ".join(f"{name} {value / parts.total:.1%}" for name, value in asdict(parts).items() if value)
    yield f"  step: {duration(one.seconds)}; {shares}"
    if planned.bubble:
        yield f"  pipeline bubble: {planned.bubble:.1%} of a full batch of {one.job.micro_batches} micro-batches a copy"
    each = planned.tokens_per_s / one.job.world_size
    yield f"  {planned.tokens_per_s:,.0f} tokens/s, {each:,.0f} a GPU; MFU {planned.mfu:.1%}"
    if planned.length is not None:
        whole = planned.length
        yield f"  run: {whole.steps:,} steps, {whole.tokens:,} tokens, {duration(whole.seconds)} of training"
    if planned.cost is not None:
        yield f"  cost: {planned.cost:,.0f} at cluster.price for a GPU and hour"
    disk = planned.checkpoint
    yield (
        f"  checkpoint: {disk.bytes / 1e9:,.1f} GB in {duration(disk.seconds)}, for which training stands still "
        f"{disk.share:.1%} of the time; up to {disk.kept_bytes / 1e9:,.1f} GB kept"
    )
    if planned.ramp_line:
        yield f"  {planned.ramp_line}"
        rows = [
            [f"{p.tokens:,}", f"{p.step:,}", f"{p.batch:,}", f"{p.learning_rate:.2e}", duration(p.seconds)]
            for p in planned.ramp
        ]
        yield from columns(["tokens", "step", "batch", "learning rate", "time of a step"], rows)
    yield f"  start: {planned.launch}"


def text(plan: Plan) -> str:
    """The plan for people."""
    config, cluster = plan.inputs.config, plan.inputs.cluster
    gpus = f"{cluster.nodes} x {cluster.gpus_per_node} {cluster.gpu}"
    lines = [
        f"{config.run.name}: {plan.parameters:,} parameters, {plan.flops['causal']:.3e} FLOPs a token (causal; "
        f"{plan.flops['full']:.3e} full), {config.precision}, on {gpus}"
    ]
    lines += [f"  assumed: {one}" for one in plan.inputs.assumed]
    how = f"MFU {cluster.mfu:g} as stated" if cluster.mfu else f"kernels at {cluster.reached:g} of the peak"
    lines += [
        f"  assumed: {how}; network {cluster.network_gb * 8:g} Gbit/s a GPU; storage {cluster.storage_gb:g} GB/s",
        "",
    ]
    if plan.asked is not None:
        lines += ["As configured", *_planned(plan.asked, cluster.usable_bytes), ""]
    else:
        lines += [f"As configured: cannot run here: {plan.problem}", ""]
    if plan.recommended is None:
        return "\n".join([*lines, *plan.advice])
    best = plan.recommended.choice
    if plan.asked is None or plan.asked.choice.job != best.job:
        lines += ["Recommended: the fastest that fits", *_planned(plan.recommended, cluster.usable_bytes), ""]
    lines.append(f"The fastest of {len(plan.others)} topologies that fit, the global batch as it is")
    rows = [[topology_name(one), f"{one.memory.total / GIB:.1f}", duration(one.seconds)] for one in plan.others[:SHOWN]]
    return "\n".join([*lines, *columns(["", "GiB", "step"], rows)])


def _choice(one: Choice) -> dict[str, Any]:
    parallel = one.job.parallel
    return {
        "zero_stage": parallel.zero_stage,
        "pipeline": parallel.pipeline,
        "tensor": parallel.tensor,
        "data_parallel": one.job.data_parallel,
        "activation_checkpointing": parallel.activation_checkpointing,
        "micro_batch": one.job.micro_batch,
        "micro_batches": one.job.micro_batches,
        "memory_bytes": one.memory.parts(),
        "fits": one.fits,
        "step_seconds": one.seconds,
    }


def _data(planned: Planned | None) -> dict[str, Any] | None:
    if planned is None:
        return None
    return {
        **_choice(planned.choice),
        "stage_memory_bytes": [stage.parts() for stage in planned.stages],
        "step_parts_seconds": asdict(planned.parts),
        "bubble": planned.bubble,
        "mfu": planned.mfu,
        "tokens_per_s": planned.tokens_per_s,
        "length": asdict(planned.length) if planned.length is not None else None,
        "ramp": [asdict(point) for point in planned.ramp],
        "checkpoint": asdict(planned.checkpoint),
        "cost": planned.cost,
        "launch": planned.launch,
    }


def data(plan: Plan) -> dict[str, Any]:
    """The plan for programs; bytes and seconds."""
    cluster = plan.inputs.cluster
    return {
        "name": plan.inputs.config.run.name,
        "parameters": plan.parameters,
        "flops_per_token": plan.flops,
        "vocab_size": plan.inputs.vocab_size,
        "assumed": plan.inputs.assumed,
        "cluster": {**cluster.model_dump(), "usable_bytes": cluster.usable_bytes, "world_size": cluster.world_size},
        "as_configured": _data(plan.asked),
        "problem": plan.problem,
        "recommended": _data(plan.recommended),
        "fitting": [_choice(one) for one in plan.others],
        "advice": plan.advice,
    }
