"""What a resume must find again: the settings, the model and the data of the run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from data_prep.configfile import resolved
from data_prep.errors import UserError
from pipeline.checkpoint.language_model import check_model
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.config.schema import EngineConfig
from pipeline.train.batch_schedule import BatchSchedule
from pipeline.train.job import Job

_SETTINGS = ("run.seed", "optimizer", "schedule", "train.global_batch", "train.batch_ramp", "precision", "loss_scale")
_PASS = "samples of a pass (train.micro_batch x data-parallel ranks), in which a batch ramp grows,"
_DATA = ("data", "made from")


def identity(config: EngineConfig, job: Job, batches: BatchSchedule) -> dict[str, Any]:
    """The settings that decide the numbers."""
    values = resolved(config)
    found: dict[str, Any] = {}
    for dotted in _SETTINGS:
        node: Any = values
        for part in dotted.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        found[dotted] = node
    if batches.ramp is not None:
        found[_PASS] = batches.per_pass
    # Behind the settings that they follow from, so that a resume names the cause.
    found |= {"model": job.model, "data": job.samples.fingerprint, "made from": job.lineage}
    if config.schedule.kind != "constant":
        # A decay that ends with the run makes the run's length decide the learning rates.
        found["schedule ends"] = config.schedule.bounds(batches.whole_steps(job.units))[1]
    return found


def topology(config: EngineConfig, world_size: int) -> dict[str, Any]:
    """Over how many ranks the run is spread, and how; a resume may change it."""
    parallel = config.parallel
    return {
        "world_size": world_size,
        "zero_stage": parallel.zero_stage,
        "pipeline": parallel.pipeline,
        "tensor": parallel.tensor,
        "precision": config.precision,
    }


def check_resume(
    manifest: CheckpointManifest,
    where: str,
    job: Job,
    batches: BatchSchedule,
    wanted: dict[str, Any],
    shape: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    """Raise unless a run may go on from a checkpoint.

    Args:
        manifest: of the checkpoint.
        where: its folder.
        job: what is trained; its `allow_changed` lets it go on with other data.
        batches: sizes of the global batches.
        wanted: `identity` of this run.
        shape: `topology` of this run.
        say: prints a line.

    Raises:
        UserError: something is not what the run was started with; names it.
    """
    check_model(manifest, job.model, where)
    data_changed = manifest.identity.get("data") != wanted["data"]
    allowed = job.allow_changed is not None and job.samples.fingerprint.startswith(job.allow_changed)
    for name, value in wanted.items():
        before = manifest.identity.get(name)
        if before == value or (name == _PASS and not batches.ramps_at(manifest.cursor.consumed)):
            continue
        if name in _DATA and data_changed and allowed:
            continue
        fix = "restore the setting, or choose another run.name for a new run"
        if name == "data":
            fix = f"restore the data, choose another run.name, or go on with data.allow_changed={value[:12]}"
        raise UserError(f"{name} is not what this run was started with ({before} -> {value})", where=where, fix=fix)
    if manifest.tokenizer_sha256 != hashlib.sha256(job.tokenizer).hexdigest():
        raise UserError(
            "the tokenizer is not what this run was started with: its ids mean other text",
            where=where,
            fix="use data of the same tokenizer",
        )
    before = manifest.topology
    changes = [f"{key} {before.get(key)} -> {value}" for key, value in shape.items() if before.get(key) != value]
    if changes:
        say(f"the checkpoint was written by another topology: {', '.join(changes)}")
    if data_changed:
        say(
            f"WARNING: other data from step {manifest.cursor.step + 1} on, as data.allow_changed says "
            f"({manifest.identity.get('data')} -> {wanted['data']}); it is read from sample "
            f"{manifest.cursor.samples:,} of its own order"
        )
