"""What people and the tracker are told of a step."""

from __future__ import annotations

from collections.abc import Callable

from data_prep.progress import clock
from pipeline.config.schema import EngineConfig
from pipeline.train.health_record import HealthRecord
from pipeline.train.job import Job
from pipeline.train.status import StepStatus
from pipeline.train.stragglers import StragglerReport
from pipeline.train.throughput import Meter

SHOWN = ("loss", "accuracy", "lm_loss")
"""Metrics of a training step that are logged."""


class StepLog:
    """Writes the log line of a step, and gives its metrics.

    Args:
        config: settings.
        job: what is trained.
        meter: measures speed.
        stragglers: looks for slow ranks.
        length: (steps, units) of the whole run.
        say: prints a line on rank 0.
    """

    def __init__(
        self,
        config: EngineConfig,
        job: Job,
        meter: Meter,
        stragglers: StragglerReport,
        length: tuple[int, int],
        say: Callable[[str], None],
    ) -> None:
        self._config, self._job, self._meter, self._stragglers, self._say = config, job, meter, stragglers, say
        self._total_steps, self._total = length

    def write(self, status: StepStatus, lr: float, health: HealthRecord) -> dict[str, float]:
        """Say the line of a step; collective. Returns its metrics.

        Args:
            status: of the step.
            lr: its learning rate.
            health: what happened until now.
        """
        result, cursor, unit = status.result, status.read.cursor, self._job.samples.unit
        metrics = self._job.metrics(status.sums)
        values = {f"train/{name}": value for name, value in metrics.items() if name in SHOWN}
        values |= {"train/lr": lr, "train/grad_norm": status.grad_norm}
        values |= {f"train/grad_norm/{layer}": float(norm) for layer, norm in result.layer_norms.items()}
        values |= {"health/skipped_updates": len(health.skipped), "health/rollbacks": len(health.rollbacks)}
        shown = "".join(f"  {name} {values[f'train/{name}']:.3f}" for name in metrics if name == "accuracy")
        if self._job.batch_ramp is not None:
            values["train/global_batch"] = status.read.global_batch
            shown += f"  batch {status.read.global_batch:,}"
        if self._config.precision == "fp16":
            values["train/loss_scale"] = result.loss_scale
            shown += f"  loss_scale {result.loss_scale:g}{' (update skipped)' if result.skipped else ''}"
        wait = self._meter.waited
        perf = self._meter.lap(unit, cursor.consumed)
        with self._meter.paused():
            perf["straggler_ratio"], slow = self._stragglers.look(wait)
        rate = perf[f"{unit}_per_s"]
        speed = f"{rate:,.0f} {unit}/s"
        if self._job.flops_per_unit.keys() <= perf.keys():
            speed += "".join(f"  {name} {100 * perf[name]:.1f}%" for name in self._job.flops_per_unit)
        self._say(
            f"step {cursor.step:>{len(str(self._total_steps))}}/{self._total_steps}  {unit} {cursor.consumed:,}  "
            f"loss {metrics['loss']:.6f}{shown}  lr {lr:.3e}  grad_norm {values['train/grad_norm']:.4f}  {speed}  "
            f"data_wait {100 * perf['data_wait']:.1f}%  {perf['memory_gib']:.2f} GiB  "
            f"eta {clock((self._total - cursor.consumed) / rate)}"
        )
        if slow is not None:
            self._say(f"step {cursor.step}  {slow}")
        return {**values, **{f"perf/{name}": value for name, value in perf.items()}}
