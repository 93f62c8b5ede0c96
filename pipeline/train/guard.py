"""Looks after a run's health: judges each step, keeps count on the disk, and decides what a roll-back skips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.checkpoint.store import Cursor
from pipeline.config.schema import EngineConfig
from pipeline.data.skip import merged
from pipeline.distributed import World, on_main
from pipeline.exit_codes import ExitCode, RunEnd
from pipeline.train.health import Detector, Verdict
from pipeline.train.health_record import HEALTH, HealthRecord, Rollback
from pipeline.train.job import Metrics
from pipeline.train.status import StepStatus

T = TypeVar("T")


class Guard:
    """The health of a run, the same on every rank; rank 0 writes it down.

    Args:
        config: settings.
        metrics: how sums become a `loss`.
        run_dir: the run folder.
        world: this process among all.
        say: prints a line on rank 0.

    Attributes:
        record: what happened until now.
    """

    def __init__(
        self, config: EngineConfig, metrics: Metrics, run_dir: Path, world: World, say: Callable[[str], None]
    ) -> None:
        self._config, self._metrics, self._run_dir, self._world, self._say = config, metrics, run_dir, world, say
        self._detector = Detector(config.health)
        self.record = HealthRecord()

    @property
    def sound(self) -> bool:
        """Whether the last step judged was none whose update was left out."""
        return self._detector.skipped_in_row == 0

    def begin(self, cursor: Cursor, fresh: bool) -> Cursor:
        """The cursor from which a run starts; collective.

        Args:
            cursor: of the checkpoint or the configuration.
            fresh: whether there is no checkpoint, and so no past either.
        """
        if fresh:
            on_main(self._world, lambda: (self._run_dir / HEALTH).unlink(missing_ok=True))
            return cursor
        self.record = on_main(self._world, lambda: HealthRecord.load(self._run_dir)).at(cursor.step)
        return self._skipping(cursor)

    def judge(self, status: StepStatus) -> str | None:
        """Why the run must go back behind this step; None if it need not."""
        step, scale, result = status.read.cursor.step, self._config.loss_scale, status.result
        routine = result.skipped and scale.static == 0 and result.loss_scale > scale.minimum
        judgement = self._detector.judge(self._metrics(status.sums)["loss"], status.grad_norm, routine)
        if judgement.verdict is Verdict.LEFT_OUT:
            self._say(f"WARNING: step {step}: {judgement.reason}; the update is left out")
            self._keep(self.record.with_skipped(step))
        return judgement.reason if judgement.verdict is Verdict.ROLL_BACK else None

    def way_back(self, step: int, reason: str, newest: Callable[[], T | None]) -> T:
        """The checkpoint to which a run goes back from a step; collective if `newest` is.

        Args:
            step: the last one trained.
            reason: why it must go back; one line.
            newest: finds the newest good checkpoint.

        Raises:
            RunEnd: it may not go back, or there is nothing to go back to.
        """
        limit, done = self._config.health.max_rollbacks, len(self.record.rollbacks)
        if done >= limit:
            why = f"{done} roll-backs are used up (health.max_rollbacks {limit})"
        elif (found := newest()) is not None:
            return found
        else:
            why = "there is no checkpoint yet to go back to"
        raise RunEnd(
            ExitCode.DIVERGED,
            f"diverged at step {step}: {reason}; {why}; lower optimizer.lr, lengthen schedule.warmup_tokens or look at "
            f"the data; what was saved is kept",
        )

    def went_back(self, now: Cursor, to: Cursor, reason: str) -> Cursor:
        """Note a roll-back; the cursor from which the run goes on.

        Args:
            now: behind the last step that was trained.
            to: of the checkpoint.
            reason: one line.
        """
        rollback = Rollback(now.step, to.step, (to.samples, now.samples), reason)
        self._keep(self.record.with_rollback(rollback))
        self._detector.went_back()
        return self._skipping(to)

    def _skipping(self, cursor: Cursor) -> Cursor:
        skip = merged([*cursor.skip, *(one.samples for one in self.record.rollbacks)])
        return Cursor(cursor.step, cursor.samples, cursor.consumed, skip)

    def _keep(self, record: HealthRecord) -> None:
        self.record = record
        if self._world.is_main:
            record.save(self._run_dir)
