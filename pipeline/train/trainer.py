"""The training loop: cursor, schedules, validation, checkpoints; the same for pretraining and fine-tuning."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from data_prep.configfile import config_sha
from data_prep.errors import UserError
from data_prep.progress import clock
from pipeline.checkpoint import writer
from pipeline.checkpoint.store import CheckpointManifest, CheckpointStore, Cursor
from pipeline.config.deepspeed import accumulation_steps
from pipeline.config.schema import EngineConfig
from pipeline.data.order import key
from pipeline.data.prefetch import Prefetcher
from pipeline.data.skip import merged
from pipeline.distributed import World, on_main, together
from pipeline.tracking import Tracker
from pipeline.train.batch_schedule import BatchSchedule
from pipeline.train.engine import Engine, StepResult, reduce_sums
from pipeline.train.feed import StepInput, feed
from pipeline.train.identity import check_resume, identity, topology
from pipeline.train.job import Job
from pipeline.train.layer_norms import LayerWatcher
from pipeline.train.profile import ProfileWindow
from pipeline.train.schedule import learning_rate
from pipeline.train.throughput import Meter, peak_of
from pipeline.train.validation import validate

if TYPE_CHECKING:
    from pipeline.train.samples import TextSamples

Say = Callable[[str], None]


class Trainer:
    """Runs a job on an engine.

    Args:
        config: settings.
        job: what is trained.
        engine: how a step is computed.
        world: this process among all.
        run_dir: the run folder.
        checkpoints: where checkpoints go.
        open_tracker: called on rank 0 with the step at which the run (re)starts.
        say: prints a line on rank 0.

    Attributes:
        cursor: where the run stands.
        total_steps: length of the run.

    Raises:
        UserError: the global batch cannot be cut into whole micro-batches.
    """

    def __init__(
        self,
        config: EngineConfig,
        job: Job,
        engine: Engine,
        world: World,
        run_dir: Path,
        checkpoints: CheckpointStore,
        open_tracker: Callable[[int], Tracker],
        say: Say,
    ) -> None:
        self._config, self._job, self._engine, self._world = config, job, engine, world
        self._run_dir, self._checkpoints, self._open_tracker, self._say = run_dir, checkpoints, open_tracker, say
        accumulation_steps(config, engine.data_parallel_size)
        self._batches = BatchSchedule.of(
            config.train, engine.data_parallel_size, job.samples.units_per_sample, job.batch_ramp
        )
        self.total_steps, self._total = self._batches.length(job.units)
        self._identity, self._topology = identity(config, job, self._batches), topology(config, world.size)
        device_name = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
        peak = peak_of(config.log, config.precision, device_name) if job.flops_per_unit else None
        if peak is not None:
            say(f"MFU: share of {peak.flops / 1e12:g} TFLOP/s ({peak.source}) on each of {world.size} ranks")
        self._meter = Meter(world, peak, job.flops_per_unit)
        self._watcher = engine if config.log.per_layer and isinstance(engine, LayerWatcher) else None
        self._texts = job.texts if job.texts is not None and job.texts.fits(engine) else None
        self._tracker: Tracker | None = None
        self._not_finite = torch.zeros((), dtype=torch.int64, device=world.device)
        self.cursor = Cursor(0, 0, 0, merged(job.skip))

    def run(self) -> dict[str, float]:
        """Train to the end, from the newest good checkpoint if there is one; returns the final validation metrics.

        Raises:
            UserError: the checkpoints do not fit this run, or the gradient is no longer finite.
        """
        self._announce()
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

    def _announce(self) -> None:
        ramp = self._batches.describe(self._job.units)
        if ramp is not None:
            self._say(ramp)
        in_pieces = "the model lies in pipeline stages or tensor-parallel slices"
        if self._watcher is None and self._config.log.per_layer:
            self._say(f"log.per_layer gives nothing: {in_pieces}")
        if self._texts is None and self._job.texts is not None:
            self._say(f"samples gives nothing: {in_pieces}")

    def _resume(self) -> None:
        found = on_main(self._world, lambda: self._checkpoints.newest_good(self._say))
        if found is None:
            return
        folder, manifest = found
        together(
            lambda: check_resume(
                manifest, str(folder), self._job, self._batches, self._identity, self._topology, self._say
            )
        )
        writer.load(self._engine, folder)
        at = manifest.cursor
        self.cursor = Cursor(at.step, at.samples, at.consumed, merged([*at.skip, *self._job.skip]))
        self._say(f"resumed at step {self.cursor.step} from {folder}")

    def _loop(self) -> dict[str, float]:
        config, engine, total = self._config, self._engine, self.total_steps
        final: dict[str, float] | None = None
        whole = self._batches.whole_steps(self._job.units)
        ranks, pin = engine.data_parallel_size, self._world.device.type == "cuda"
        inputs = feed(self.cursor, total, self._batches, self._job.samples, engine.data_parallel_rank, ranks, pin)
        with (
            Prefetcher(inputs) as upcoming,
            ProfileWindow(config.profile, self._run_dir, self._world, self._say) as profiler,
        ):
            self._meter.begin(self.cursor.consumed)
            for read in self._meter.waiting_for(upcoming):
                step = read.cursor.step
                lr = learning_rate(read.cursor.consumed, config.optimizer.lr, config.schedule, whole)
                torch.manual_seed(key(config.run.seed, "dropout", step, engine.data_parallel_rank) >> 1)
                profiler.before(step)
                if self._watcher is not None:
                    self._watcher.watch_layers = self._due(step, config.train.log_every)
                result = engine.train_step(read.micro_batches, lr)
                profiler.after(step)
                self.cursor = read.cursor
                self._note(result)
                log, check = self._due(step, config.train.log_every), self._due(step, config.validation.every)
                save = self._due(step, config.checkpoint.every)
                if log or check or save:
                    self._stop_unless_finite()
                if log:
                    self._log_step(read, result, lr)
                if check:
                    final = self._validate()
                if self._texts is not None and self._due(step, self._texts.config.every):
                    self._write_texts(self._texts)
                if save:
                    self._save()
        return final if final is not None else self._validate(log=False)  # its checkpoint was the last step's

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.total_steps

    def _note(self, result: StepResult) -> None:
        """Remember on the device the first step whose gradient is not finite; the host does not wait for it."""
        if not result.skipped:  # fp16 leaves such an update out and lowers its loss scale
            fine = torch.isfinite(result.grad_norm) | (self._not_finite > 0)
            self._not_finite = torch.where(fine, self._not_finite, self.cursor.step)

    def _stop_unless_finite(self) -> None:
        step = int(self._not_finite)
        if step:  # weights that followed must not be saved
            raise UserError(
                f"the gradient is not finite at step {step}",
                where=self._config.run.name,
                fix="lower optimizer.lr or lengthen schedule.warmup_tokens; the last checkpoint is kept",
            )

    def _log_step(self, read: StepInput, result: StepResult, lr: float) -> None:
        step, consumed, unit = self.cursor.step, self.cursor.consumed, self._job.samples.unit
        metrics = self._job.metrics(reduce_sums(result.sums))
        values = {f"train/{name}": value for name, value in metrics.items() if name in ("loss", "accuracy")}
        values |= {"train/lr": lr, "train/grad_norm": float(result.grad_norm)}
        values |= {f"train/grad_norm/{layer}": float(norm) for layer, norm in result.layer_norms.items()}
        shown = "".join(f"  {name} {values[f'train/{name}']:.3f}" for name in metrics if name == "accuracy")
        if self._batches.ramp is not None:
            values["train/global_batch"] = read.global_batch
            shown += f"  batch {read.global_batch:,}"
        if self._config.precision == "fp16":
            values["train/loss_scale"] = result.loss_scale
            shown += f"  loss_scale {result.loss_scale:g}{' (update skipped)' if result.skipped else ''}"
        perf = self._meter.lap(unit, consumed)
        rate = perf[f"{unit}_per_s"]
        speed = f"{rate:,.0f} {unit}/s"
        if self._job.flops_per_unit.keys() <= perf.keys():
            speed += "".join(f"  {name} {100 * perf[name]:.1f}%" for name in self._job.flops_per_unit)
        self._say(
            f"step {step:>{len(str(self.total_steps))}}/{self.total_steps}  {unit} {consumed:,}  "
            f"loss {metrics['loss']:.6f}{shown}  lr {lr:.3e}  grad_norm {values['train/grad_norm']:.4f}  {speed}  "
            f"data_wait {100 * perf['data_wait']:.1f}%  {perf['memory_gib']:.2f} GiB  "
            f"eta {clock((self._total - consumed) / rate)}"
        )
        if self._tracker is not None:
            self._tracker.log({**values, **{f"perf/{name}": value for name, value in perf.items()}}, step, consumed)

    def _validate(self, log: bool = True) -> dict[str, float]:
        with self._meter.paused():
            sums = validate(self._engine, self._job.validation, self._config.train.micro_batch)
        metrics = {f"val/{name}": value for name, value in self._job.metrics(sums).items()}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self._say(f"step {self.cursor.step}  validation: {shown}")
        if self._tracker is not None and log:
            self._tracker.log(metrics, self.cursor.step, self.cursor.consumed)
        return metrics

    def _write_texts(self, texts: TextSamples) -> None:
        with self._meter.paused():
            name = texts.write(self._engine, self._run_dir, self._world, self.cursor, self._job.samples.unit)
        self._say(f"step {self.cursor.step}  text samples {self._run_dir / name}")
        if self._tracker is not None:
            self._tracker.add_artifact(name)

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
        with self._meter.paused():
            folder = writer.save(
                self._engine, self._checkpoints, self._world, self.cursor.step, self._job.tokenizer, describe
            )
        self._say(f"step {self.cursor.step}  checkpoint {folder} ({time.monotonic() - start:.1f} s)")
