"""The tracker of one run: writes the run folder; a background thread keeps MLflow up to date with it.

    with Tracker.start("runs/demo", RunInfo("demo", "pretrain", params, tags), uri, "webtext") as tracker:
        tracker.log({"train/loss": 3.2}, step=10, tokens=40_960)
        tracker.set_final({"val/loss": 3.1})

No method raises or waits because of MLflow. Only one process of a job (rank 0) holds a tracker, and one thread of it
uses it; `finish` may come from another (a watchdog).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from data_prep.errors import CorruptFile, UserError, full_disk
from pipeline.tracking.follower import Follower
from pipeline.tracking.runfolder import (
    CUT_FILE,
    METRICS_FILE,
    MLFLOW_FILE,
    SYSTEM_FILE,
    CheckpointRecord,
    MetricRecord,
    RunInfo,
    RunRecord,
    Status,
    cut_back,
    records_of,
)
from pipeline.tracking.system import SystemSampler

FINISH_SECONDS = 20.0
"""How long `finish` waits for MLflow to have everything."""
BEFORE_ALL_STEPS = -1


class Tracker:
    """Writes one run; made by `start` or `resume`.

    Attributes:
        run_dir: the run folder.
    """

    def __init__(self, run_dir: Path, record: RunRecord, uri: str | None) -> None:
        self.run_dir, self._record = run_dir, record
        record.save(run_dir)
        self._metrics = (run_dir / METRICS_FILE).open("ab")
        self._finished = False
        self._moment = (0, 0)
        self._system = SystemSampler(run_dir, lambda: self._moment)
        self._follower = Follower(run_dir, uri) if uri is not None else None

    @classmethod
    def start(cls, run_dir: str | Path, info: RunInfo, uri: str | None, experiment: str) -> Self:
        """Begin a run from step 0.

        A folder that holds the same run (name, stage, params and inputs are equal), cut short, takes it up again from
        the beginning, so that MLflow shows it once. Another run in the folder is given up: MLflow marks it KILLED.

        Args:
            run_dir: made if missing.
            info: what the run is.
            uri: MLflow tracking URI; None keeps the run on disk alone.
            experiment: MLflow experiment.

        Raises:
            UserError: the disk is full.
        """
        return cls._open(Path(run_dir), info, uri, experiment, BEFORE_ALL_STEPS)

    @classmethod
    def resume(cls, run_dir: str | Path, info: RunInfo, uri: str | None, experiment: str, at_step: int) -> Self:
        """Continue the run of the folder behind optimizer step `at_step`.

        Records of later steps are cut from the metrics file. What MLflow already has of them stays there, and is not
        sent again when those steps are done a second time. Without a run in the folder this is `start`.
        """
        return cls._open(Path(run_dir), info, uri, experiment, at_step)

    @classmethod
    def _open(cls, run_dir: Path, info: RunInfo, uri: str | None, experiment: str, at_step: int) -> Self:
        run_dir.mkdir(parents=True, exist_ok=True)
        now = time.time_ns() // 1_000_000
        old = _read_old(run_dir)
        restart = at_step == BEFORE_ALL_STEPS
        if old is not None and old.experiment == experiment and (not restart or old.identity == info.identity):
            cut_back(run_dir, at_step)
            old.checkpoints = [one for one in old.checkpoints if one.step <= at_step]
            old.describe(info)
            old.name, old.identity, old.final = info.name, info.identity, {}
            old.tags["resume_count"] = str(int(old.tags.get("resume_count", "0")) + 1)
            old.status, old.end_time_ms = "RUNNING", None
            return cls(run_dir, old, uri)
        record = RunRecord.new(info, experiment, now)
        if old is not None:
            record.replaces = [*old.replaces, old.id]
        for name in (METRICS_FILE, CUT_FILE, SYSTEM_FILE, MLFLOW_FILE):
            (run_dir / name).unlink(missing_ok=True)
        return cls(run_dir, record, uri)

    def log(self, metrics: Mapping[str, float], step: int, tokens: int) -> None:
        """Append metrics of one moment.

        Args:
            metrics: name -> number, also nan or inf. Within a run a name comes at most once for a value of `tokens`.
            step: optimizer step.
            tokens: tokens consumed until now; the step axis in MLflow.

        Raises:
            UserError: the disk is full.
        """
        values = {key: float(value) for key, value in metrics.items()}
        try:
            self._metrics.write(MetricRecord(int(step), int(tokens), time.time(), values).to_line())
            self._metrics.flush()
        except OSError as error:
            raise full_disk(error, str(self.run_dir / METRICS_FILE)) or error from None
        self._moment = (int(step), int(tokens))

    def cut_back(self, step: int, why: str) -> None:
        """Go back behind optimizer step `step` in mid-run.

        Records of later steps move to `metrics.cut.jsonl`, and checkpoints of later steps are no longer listed. MLflow
        cannot take points back: it keeps those that it has, gets no others for the same steps, and a tag
        `went_back.<n>` says which ones they are. A store that is synced anew gets only what was kept.

        Args:
            step: the last one that counts.
            why: for the tag.

        Raises:
            UserError: the disk is full.
        """
        last = max(step, self._moment[0])
        self._metrics.close()
        try:
            cut_back(self.run_dir, step)
            self._metrics = (self.run_dir / METRICS_FILE).open("ab")
            self._record.cuts += 1
            self._record.checkpoints = [one for one in self._record.checkpoints if one.step <= step]
            self._record.tags[f"went_back.{self._record.cuts}"] = (
                f"from step {last} to {step}: {why}; MLflow may show steps {step + 1} to {last} as they were before"
            )
            self._record.save(self.run_dir)
        except OSError as error:
            raise full_disk(error, str(self.run_dir / METRICS_FILE)) or error from None

    def log_checkpoint(self, path: str | Path, digest: str, step: int, tokens: int, url: str | None = None) -> None:
        """List a checkpoint that is whole on the disk; in MLflow it is a logged model of the run.

        Its metrics are those logged at its step. The same digest a second time changes nothing. Checkpoints listed
        before whose folder is gone are listed no longer.

        Args:
            path: its folder.
            digest: sha256 (hex) of its manifest.
            step: optimizer step.
            tokens: consumed until then.
            url: of the uploaded copy, if there is one.
        """
        run_dir = self.run_dir.absolute()
        folder = Path(path).absolute()
        shown = str(folder.relative_to(run_dir)) if folder.is_relative_to(run_dir) else str(folder)
        metrics = {
            name: (value, record.time_ms)
            for record in records_of(self.run_dir, step)
            for name, value in record.metrics.items()
        }
        new = CheckpointRecord(shown, digest, step, tokens, time.time_ns() // 1_000_000, url, metrics)
        others = [one for one in self._record.checkpoints if (run_dir / one.path).is_dir() and one.step != step]
        same = [one for one in self._record.checkpoints if (one.digest, one.url) == (digest, url)]
        self._record.checkpoints = sorted([*others, *(same or [new])], key=lambda one: one.step)
        self._record.save(self.run_dir)

    def set_final(self, metrics: Mapping[str, float]) -> None:
        """Results of the whole run; in MLflow they are metrics at the last step."""
        self._record.final.update({key: float(value) for key, value in metrics.items()})
        self._record.save(self.run_dir)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        self._record.tags.update({key: str(value) for key, value in tags.items()})
        self._record.save(self.run_dir)

    def set_params(self, params: Mapping[str, object]) -> None:
        """Add params that are known only now, such as the number of parameters or the entropy of the data."""
        self._record.params.update({key: str(value) for key, value in params.items()})
        self._record.save(self.run_dir)

    def add_artifact(self, path: str | Path) -> None:
        """Store a small file of the run folder with the run; `path` is absolute or relative to the run folder."""
        relative = os.path.relpath(self.run_dir / path, self.run_dir)
        if relative not in self._record.artifacts:
            self._record.artifacts.append(relative)
            self._record.save(self.run_dir)

    def finish(self, status: Status = "FINISHED", timeout_s: float = FINISH_SECONDS) -> None:
        """End the run; returns after at most `timeout_s`, and says how to send later what MLflow does not have yet."""
        if self._finished:
            return
        self._finished = True
        self._system.stop()
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        self._metrics.close()
        self._record.status, self._record.end_time_ms = status, time.time_ns() // 1_000_000
        self._record.save(self.run_dir)
        if self._follower is not None:
            self._follower.stop(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish("FINISHED")
        else:
            self.finish("FAILED" if isinstance(error, Exception) else "KILLED")


def _read_old(run_dir: Path) -> RunRecord | None:
    try:
        return RunRecord.load(run_dir)
    except CorruptFile:
        raise
    except UserError:
        return None
