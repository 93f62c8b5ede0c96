"""The training loop: cursor, schedules, validation, checkpoints; the same for pretraining and fine-tuning."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from data_prep.configfile import config_sha
from pipeline.checkpoint.checkpointer import Checkpointer
from pipeline.checkpoint.store import CheckpointManifest, Cursor
from pipeline.config.deepspeed import accumulation_steps
from pipeline.config.schema import EngineConfig
from pipeline.data.order import key
from pipeline.data.prefetch import Prefetcher
from pipeline.data.skip import merged
from pipeline.distributed import World, on_main, together
from pipeline.exit_codes import ExitCode, RunEnd, end_of
from pipeline.tracking import Tracker
from pipeline.train.attempts import Beat, Heartbeat
from pipeline.train.batch_schedule import BatchSchedule
from pipeline.train.engine import Engine
from pipeline.train.feed import StepInput, feed
from pipeline.train.guard import Guard
from pipeline.train.identity import check_resume, identity, topology
from pipeline.train.job import Job
from pipeline.train.layer_norms import LayerWatcher
from pipeline.train.profile import ProfileWindow
from pipeline.train.schedule import learning_rate
from pipeline.train.selection import Selection
from pipeline.train.status import StatusExchange, StepStatus
from pipeline.train.step_log import StepLog
from pipeline.train.stopping import REASONS, StopRequests
from pipeline.train.stragglers import StragglerReport
from pipeline.train.throughput import Meter, peak_of
from pipeline.train.watchdog import Watchdog

if TYPE_CHECKING:
    from pipeline.train.probe import Probe
    from pipeline.train.samples import TextSamples

Say = Callable[[str], None]
LAST_END = "last_end"
"""Tag that says how the run last ended."""
_HANG_FINISH_SECONDS = 5.0


class Trainer:
    """Runs a job on an engine.

    Args:
        config: settings.
        job: what is trained.
        engine: how a step is computed.
        world: this process among all.
        run_dir: the run folder.
        checkpointer: writes and reads checkpoints.
        open_tracker: called on rank 0 with the step at which the run (re)starts.
        say: prints a line on rank 0.
        watchdog: is told what is being done.
        requests: what asks the run to stop.

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
        checkpointer: Checkpointer,
        open_tracker: Callable[[int], Tracker],
        say: Say,
        watchdog: Watchdog,
        requests: StopRequests,
    ) -> None:
        self._config, self._job, self._engine, self._world = config, job, engine, world
        self._run_dir, self._checkpointer, self._open_tracker, self._say = run_dir, checkpointer, open_tracker, say
        self._watchdog, self._requests = watchdog, requests
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
        self._guard = Guard(config, job.metrics, run_dir, world, say)
        self._exchange = StatusExchange(world)
        stragglers = StragglerReport(world, config.health.straggler_ratio)
        length = (self.total_steps, self._total)
        self._step_log = StepLog(config, job, self._meter, stragglers, length, say)
        self._heartbeat: Heartbeat | None = None
        self._status: StepStatus | None = None
        self._stop: str | None = None
        self._final: dict[str, float] | None = None
        self._saved = -1
        self._selection = Selection(job.selects)
        self.cursor = Cursor(0, 0, 0, merged(job.skip))

    def run(self) -> dict[str, float]:
        """Train to the end, from the newest good checkpoint if there is one; returns the final validation metrics.

        Raises:
            UserError: the checkpoints do not fit this run, or cannot be written.
            RunEnd: the run was stopped, behind a checkpoint, or diverged.
        """
        self._announce()
        fresh = not self._resume()
        self.cursor = self._guard.begin(self.cursor, fresh)
        self._select(self._earlier_validations(fresh))
        if self._world.is_main:
            tracker = self._tracker = self._open_tracker(self.cursor.step)
            self._heartbeat = Heartbeat(self._run_dir)
            self._watchdog.before_exit = lambda: tracker.finish("FAILED", _HANG_FINISH_SECONDS)
        try:
            metrics = self._loop()
        except BaseException as error:
            code, reason = end_of(error)
            if self._heartbeat is not None and code is not ExitCode.DEFECT:
                self._heartbeat.close()
            if self._tracker is not None:
                self._tracker.set_tags({LAST_END: f"{code.name}: {reason}"})
                self._tracker.finish("KILLED" if code in (ExitCode.STOPPED, ExitCode.INTERRUPTED) else "FAILED")
            raise
        if self._heartbeat is not None:
            self._heartbeat.close()
        return {**metrics, **self._selection.metrics()}

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the best validation metric, if the job selects by one."""
        return self._selection.best

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

    def _resume(self) -> bool:
        """Whether the run goes on from a checkpoint."""
        found = self._checkpointer.resume()
        if found is None:
            return False
        folder, manifest = found
        together(
            lambda: check_resume(
                manifest, str(folder), self._job, self._batches, self._identity, self._topology, self._say
            )
        )
        self._checkpointer.load(folder, manifest)
        at = manifest.cursor
        self.cursor = Cursor(at.step, at.samples, at.consumed, merged([*at.skip, *self._job.skip]))
        self._say(f"resumed at step {self.cursor.step} from {folder}")
        return True

    def _loop(self) -> dict[str, float]:
        with ProfileWindow(self._config.profile, self._run_dir, self._world, self._say) as profiler:
            while (reason := self._train(profiler)) is not None:
                self._go_back(reason)
        with self._watchdog.phase("the last checkpoint"):
            self._checkpointer.wait()
        self._list_checkpoints()
        # Without a step there is no validation yet: the checkpoint was the last step's.
        return self._final if self._final is not None else self._validate(log=False)

    def _train(self, profiler: ProfileWindow) -> str | None:
        """Train to the end from the cursor; why the run must go back, if it must."""
        config, engine, total = self._config, self._engine, self.total_steps
        whole, probe = self._batches.whole_steps(self._job.units), self._job.probe
        ranks, pin = engine.data_parallel_size, self._world.device.type == "cuda"
        inputs = feed(self.cursor, total, self._batches, self._job.samples, engine.data_parallel_rank, ranks, pin)
        save = False
        with Prefetcher(inputs) as upcoming:
            self._meter.begin(self.cursor.consumed)
            for read in self._meter.waiting_for(upcoming):
                step = read.cursor.step
                lr = learning_rate(read.cursor.consumed, config.optimizer.lr, config.schedule, whole)
                log = self._due(step, config.train.log_every)
                check = self._due(step, self._job.validate_every or config.validation.every)
                write = self._texts is not None and self._due(step, self._texts.config.every)
                score = probe is not None and self._due(step, probe.every)
                save |= self._due(step, config.checkpoint.every)
                self._step(read, lr, log, profiler)
                reason = self._review(everything=log or check or write or score or save)
                if reason is not None:
                    return reason
                if log:
                    self._log_step(lr)
                if check:
                    self._final = self._validate()
                    save |= self._is_best(self._final)
                if write and self._texts is not None:
                    self._write_texts(self._texts)
                if score and probe is not None:
                    self._score(probe)
                # Between updates that were left out it would be a checkpoint whose next steps are bad.
                if save and (self._guard.sound or step == total):
                    self._save()
                    save = False
                if self._stop is not None and step < total:
                    reason = self._review(everything=True)
                    if reason is not None:
                        return reason
                    self._stop_here(self._stop)
        return None

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.total_steps

    def _step(self, read: StepInput, lr: float, log: bool, profiler: ProfileWindow) -> None:
        step = read.cursor.step
        self._watchdog.step(step)
        if self._heartbeat is not None:
            self._heartbeat.beat(Beat(step, read.first, read.cursor.samples))
        torch.manual_seed(key(self._config.run.seed, "dropout", step, self._engine.data_parallel_rank) >> 1)
        profiler.before(step)
        if self._watcher is not None:
            self._watcher.watch_layers = log
        result = self._engine.train_step(read.micro_batches, lr)
        profiler.after(step)
        self.cursor = read.cursor
        self._exchange.send(read, result, [*self._requests.flags(), self._checkpointer.error() is not None])

    def _review(self, everything: bool) -> str | None:
        """Look at what the ranks said of the steps before, and of the last one too if wanted; why to go back."""
        for status in self._exchange.receive(everything):
            self._status = status
            *stops, save_failed = status.flags
            if save_failed:
                self._checkpointer.wait()  # raises it on every rank
            self._stop = next((why for why, count in zip(REASONS, stops, strict=True) if count), self._stop)
            reason = self._guard.judge(status)
            if reason is not None:
                return reason
        self._list_checkpoints()
        return None

    def _go_back(self, reason: str) -> None:
        """Continue from the last good checkpoint with the samples behind all that was trained since."""
        now = self.cursor
        self._exchange.forget()
        with self._aside("a roll-back"):
            folder, manifest = self._guard.way_back(now.step, reason, self._checkpointer.resume)
            self._checkpointer.load(folder, manifest)
            self._list_checkpoints()
        at = manifest.cursor
        self._select(self._selection.at(at.step))
        self.cursor = self._guard.went_back(now, Cursor(at.step, at.samples, at.consumed, now.skip), reason)
        line = f"{reason}: back to step {at.step} ({folder}), samples {at.samples:,} to {now.samples - 1:,} are skipped"
        self._say(f"WARNING: step {now.step}: {line}")
        if self._tracker is not None:
            self._tracker.cut_back(at.step, line)

    def _stop_here(self, why: str) -> None:
        """End the run behind a checkpoint of this step."""
        if self._saved != self.cursor.step:
            self._save()
        with self._aside("the last checkpoint"):
            self._checkpointer.wait()
        self._list_checkpoints()
        raise RunEnd(
            ExitCode.STOPPED,
            f"stopped by {why} behind the checkpoint of step {self.cursor.step}; the same command continues",
        )

    @contextmanager
    def _aside(self, what: str) -> Iterator[None]:
        """What is done inside is no part of a step."""
        with self._meter.paused(), self._watchdog.phase(what):
            yield

    def _log_step(self, lr: float) -> None:
        assert self._status is not None
        values = self._step_log.write(self._status, lr, self._guard.record)
        if self._tracker is not None:
            self._tracker.log(values, self.cursor.step, self.cursor.consumed)

    def _list_checkpoints(self) -> None:
        if self._tracker is not None:
            for folder, manifest in self._checkpointer.finished():
                at = manifest.cursor
                self._tracker.log_checkpoint(folder, manifest.digest, at.step, at.consumed)

    def _validate(self, log: bool = True) -> dict[str, float]:
        with self._aside("validation"):
            found = self._job.validate(self._engine)
        metrics = {f"val/{name}": value for name, value in found.items()}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self._say(f"step {self.cursor.step}  validation: {shown}")
        if self._tracker is not None and log:
            self._tracker.log(metrics, self.cursor.step, self.cursor.consumed)
        return metrics

    def _earlier_validations(self, fresh: bool) -> Selection:
        """What an earlier start of the run selected until the checkpoint from which it goes on."""
        none = Selection(self._job.selects)
        if fresh or self._job.selects is None:
            return none
        before = on_main(self._world, lambda: Selection.load(self._run_dir, self._job.selects)).at(self.cursor.step)
        there = before.where(on_main(self._world, self._checkpointer.steps))
        if there.best != before.best:
            self._say(f"WARNING: the best checkpoint, of step {before.best}, is gone; it is selected among the others")
        return there

    def _is_best(self, metrics: dict[str, float]) -> bool:
        """Whether this step is to be kept as the best so far."""
        if self._job.selects is None or not (self._guard.sound or self.cursor.step == self.total_steps):
            return False
        self._select(self._selection.with_value(self.cursor.step, metrics[f"val/{self._job.selects}"]))
        return self._selection.best == self.cursor.step

    def _select(self, selection: Selection) -> None:
        self._selection = selection
        if self._job.selects is not None:
            if self._world.is_main:
                selection.save(self._run_dir)
            self._checkpointer.select(selection.best)

    def _write_texts(self, texts: TextSamples) -> None:
        with self._aside("text samples"):
            name = texts.write(self._engine, self._run_dir, self._world, self.cursor, self._job.samples.unit)
        self._say(f"step {self.cursor.step}  text samples {self._run_dir / name}")
        if self._tracker is not None:
            self._tracker.add_artifact(name)

    def _score(self, probe: Probe) -> None:
        start = time.perf_counter()
        with self._aside(probe.title):
            found = probe.score(self._engine)
        seconds = time.perf_counter() - start
        shown = "  ".join(f"{name} {found.metrics[name]:.4f}" for name in found.main)
        self._say(f"step {self.cursor.step}  {probe.title}: {shown}  ({seconds:.1f} s)")
        if self._tracker is not None:
            values = {**found.metrics, f"perf/{probe.name}_s": seconds}
            self._tracker.log(values, self.cursor.step, self.cursor.consumed)

    def _save(self) -> None:
        manifest = CheckpointManifest(
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
        )
        with self._aside("a checkpoint"):
            self._checkpointer.save(manifest, self._job.tokenizer)
        self._saved = self.cursor.step
