"""The training loop: cursor, schedule, validation, checkpoints; the same for pretraining and fine-tuning."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data_prep.configfile import config_sha, resolved
from data_prep.errors import UserError
from data_prep.progress import clock
from pipeline.checkpoint import writer
from pipeline.checkpoint.store import CheckpointManifest, CheckpointStore, Cursor
from pipeline.config.deepspeed import accumulation_steps
from pipeline.config.schema import EngineConfig
from pipeline.data.batches import Batch, Samples
from pipeline.data.order import key
from pipeline.distributed import World, on_main, together
from pipeline.tracking import Tracker
from pipeline.train.engine import Engine, reduce_sums
from pipeline.train.schedule import learning_rate
from pipeline.train.validation import FixedSet, validate

Say = Callable[[str], None]
Metrics = Callable[[Mapping[str, float]], dict[str, float]]
"""Additive sums -> named metrics."""

_IDENTITY = ("run.seed", "optimizer", "schedule", "train.global_batch", "precision")


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        kind: "pretrain" or "finetune".
        tokenizer: content of the tokenizer.json that the token ids refer to.
        model: shape of the model, `vocab_size` included.
        samples: the training samples.
        validation: the validation set.
        total_steps: length of the run.
        metrics: how sums become metrics, for training and validation alike.
        lineage: stage name -> digest of everything the weights come from.
    """

    kind: str
    tokenizer: bytes
    model: dict[str, Any]
    samples: Samples
    validation: FixedSet
    total_steps: int
    metrics: Metrics
    lineage: dict[str, str]


def identity(config: EngineConfig, job: Job) -> dict[str, Any]:
    """The settings that decide the numbers, as a resume must find them again."""
    values = resolved(config)
    found: dict[str, Any] = {}
    for dotted in _IDENTITY:
        node: Any = values
        for part in dotted.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        found[dotted] = node
    # Behind the settings that they follow from, so that a resume names the cause.
    found |= {"model": job.model, "data": job.samples.fingerprint, "made from": job.lineage}
    total = job.total_steps * config.train.global_batch * job.samples.units_per_sample
    if config.schedule.kind != "constant":
        # A decay that ends with the run makes the run's length decide the learning rates.
        found["schedule ends"] = config.schedule.bounds(total)[1]
    return found


class Trainer:
    """Runs a job on an engine.

    Args:
        config: settings.
        job: what is trained.
        engine: how a step is computed.
        world: this process among all.
        checkpoints: where checkpoints go.
        open_tracker: called on rank 0 with the step at which the run (re)starts.
        say: prints a line on rank 0.
    """

    def __init__(
        self,
        config: EngineConfig,
        job: Job,
        engine: Engine,
        world: World,
        checkpoints: CheckpointStore,
        open_tracker: Callable[[int], Tracker],
        say: Say,
    ) -> None:
        self._config, self._job, self._engine, self._world = config, job, engine, world
        self._checkpoints, self._open_tracker, self._say = checkpoints, open_tracker, say
        self._identity = identity(config, job)
        self._topology = {
            "world_size": world.size,
            "zero_stage": config.parallel.zero_stage,
            "precision": config.precision,
        }
        self._accumulation = accumulation_steps(config, engine.data_parallel_size)
        self._tracker: Tracker | None = None
        self.cursor = Cursor(0, 0, 0)

    def run(self) -> dict[str, float]:
        """Train to the end, from the newest good checkpoint if there is one; returns the final validation metrics.

        Raises:
            UserError: the checkpoints do not fit this run, or the gradient is no longer finite.
        """
        self._resume()
        if self._world.is_main:
            self._tracker = self._open_tracker(self.cursor.step)
        status = "FAILED"
        try:
            metrics = self._loop()
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            if self._tracker is not None and status != "FINISHED":
                self._tracker.finish(status)  # type: ignore[arg-type]
        return metrics

    @property
    def tracker(self) -> Tracker | None:
        """The tracker, on rank 0 of a run that has begun; the caller finishes it after a good end."""
        return self._tracker

    def _resume(self) -> None:
        found = on_main(self._world, lambda: self._checkpoints.newest_good(self._say))
        if found is None:
            return
        folder, manifest = found
        together(lambda: self._check_resume(manifest, str(folder)))
        writer.load(self._engine, folder)
        self.cursor = manifest.cursor
        self._say(f"resumed at step {self.cursor.step} from {folder}")

    def _check_resume(self, manifest: CheckpointManifest, where: str) -> None:
        writer.check_model(manifest, self._job.model, where)
        for name, value in self._identity.items():
            if manifest.identity.get(name) != value:
                raise UserError(
                    f"{name} is not what this run was started with ({manifest.identity.get(name)} -> {value})",
                    where=where,
                    fix="restore the setting, or choose another run.name for a new run",
                )
        if manifest.topology != self._topology:
            raise UserError(
                f"the checkpoint was written by another topology ({manifest.topology}; this run: {self._topology})",
                where=where,
                fix="resume with the same number of ranks, ZeRO stage and precision",
            )

    def _loop(self) -> dict[str, float]:
        config, job = self._config, self._job
        per_step = config.train.global_batch * job.samples.units_per_sample
        shown_at, shown_step = time.monotonic(), self.cursor.step
        final: dict[str, float] | None = None
        while self.cursor.step < job.total_steps:
            step = self.cursor.step + 1
            consumed = self.cursor.consumed + per_step
            lr = learning_rate(consumed, config.optimizer.lr, config.schedule, job.total_steps * per_step)
            micro_batches = self._micro_batches()
            torch.manual_seed(key(config.run.seed, "dropout", step, self._world.rank) >> 1)
            result = self._engine.train_step(micro_batches, lr)
            self.cursor = Cursor(step, self.cursor.samples + config.train.global_batch, consumed)
            last = step == job.total_steps
            if not math.isfinite(result.grad_norm):  # also between log lines: such weights must not be saved
                raise UserError(
                    f"the gradient is not finite at step {step}",
                    where=config.run.name,
                    fix="lower optimizer.lr or lengthen schedule.warmup_tokens; the last checkpoint is kept",
                )
            if step % config.train.log_every == 0 or last:
                metrics = job.metrics(reduce_sums(result.sums))
                now = time.monotonic()
                rate = (step - shown_step) * per_step / max(now - shown_at, 1e-9)
                shown_at, shown_step = now, step
                self._log_step(metrics, lr, result.grad_norm, rate)
            if step % config.validation.every == 0 or last:
                final = self._validate()
            if step % config.checkpoint.every == 0 or last:
                self._save()
        return final if final is not None else self._validate(log=False)  # its checkpoint was the last step's

    def _micro_batches(self) -> list[Batch]:
        """This rank's part of the global batch that starts at the cursor.

        Micro-batch k of rank r is samples (k R + r) m .. (k R + r + 1) m of the batch, with R ranks and m per
        micro-batch.
        """
        size, rank = self._config.train.micro_batch, self._engine.data_parallel_rank
        batches = []
        for k in range(self._accumulation):
            first = self.cursor.samples + (k * self._engine.data_parallel_size + rank) * size
            batches.append(self._job.samples.batch(np.arange(first, first + size, dtype=np.int64)))
        return batches

    def _log_step(self, metrics: Mapping[str, float], lr: float, grad_norm: float, rate: float) -> None:
        step, consumed, total = self.cursor.step, self.cursor.consumed, self._job.total_steps
        unit = self._job.samples.unit
        left = (total - step) * (consumed / step) / rate
        extra = f"  accuracy {metrics['accuracy']:.3f}" if "accuracy" in metrics else ""
        self._say(
            f"step {step:>{len(str(total))}}/{total}  {unit} {consumed:,}  loss {metrics['loss']:.6f}{extra}"
            f"  lr {lr:.3e}  grad_norm {grad_norm:.4f}  {rate:,.0f} {unit}/s  eta {clock(left)}"
        )
        if self._tracker is not None:
            values = {f"train/{name}": value for name, value in metrics.items() if name in ("loss", "accuracy")}
            values |= {"train/lr": lr, "train/grad_norm": grad_norm, f"perf/{unit}_per_s": rate}
            self._tracker.log(values, step, consumed)

    def _validate(self, log: bool = True) -> dict[str, float]:
        sums = validate(self._engine, self._job.validation, self._config.train.micro_batch)
        metrics = {f"val/{name}": value for name, value in self._job.metrics(sums).items()}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self._say(f"step {self.cursor.step}  validation: {shown}")
        if self._tracker is not None and log:
            self._tracker.log(metrics, self.cursor.step, self.cursor.consumed)
        return metrics

    def _save(self) -> None:
        def describe(files: dict[str, dict[str, Any]]) -> CheckpointManifest:
            return CheckpointManifest(
                cursor=self.cursor,
                kind=self._job.kind,
                seed=self._config.run.seed,
                model=self._job.model,
                data=self._job.samples.fingerprint,
                topology=self._topology,
                tokenizer_sha256=hashlib.sha256(self._job.tokenizer).hexdigest(),
                identity=self._identity,
                config_sha=config_sha(self._config),
                lineage=self._job.lineage,
                tracking_run=str(self._tracker.run_dir) if self._tracker is not None else "",
                files=files,
            )

        start = time.monotonic()
        folder = writer.save(
            self._engine, self._checkpoints, self._world, self.cursor.step, self._job.tokenizer, describe
        )
        self._say(f"step {self.cursor.step}  checkpoint {folder} ({time.monotonic() - start:.1f} s)")
