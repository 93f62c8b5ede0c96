"""The run folder: `run.json` says what a run is, `metrics.jsonl` holds its metrics. Both are the truth; servers follow.

`run.json` is replaced atomically. `metrics.jsonl` is append-only, one JSON object a line:
`{"step": optimizer step, "tokens": consumed tokens, "time": unix seconds, "metrics": {name: value}}`; a value that JSON
has no number for is written as the string "nan", "inf" or "-inf". A last line without its newline is one that a crash
cut short, and does not count. When a run goes back to an earlier step, the lines behind it move to
`metrics.cut.jsonl`. `system.jsonl` has the same form, and the state of the machine (`pipeline.tracking.system`).
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from data_prep import store
from data_prep.errors import CorruptFile, UserError

FORMAT = 1
RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
CUT_FILE = "metrics.cut.jsonl"
SYSTEM_FILE = "system.jsonl"
MLFLOW_FILE = "mlflow.json"
_TAIL = 1 << 16

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class DatasetInput:
    """Data that a run read.

    Attributes:
        name: for example "webtext/train"; MLflow keeps one input for each pair of name and digest.
        digest: sha256 (hex) of the content.
        source: where it was read from.
        context: "training", "validation", "evaluation" or "raw".
    """

    name: str
    digest: str
    source: str
    context: str


@dataclass(frozen=True)
class RunInfo:
    """What a run is before it has done anything.

    Attributes:
        name: as shown in tables.
        stage: "pretrain", "finetune", "evaluate" or "data/<stage>".
        params: settings, flat (`data_prep.configfile.flatten`); they do not change during a run.
        tags: `lineage.upstream_tags`, `lineage.environment_tags`, "config_sha" and the like.
        inputs: data it reads.
    """

    name: str
    stage: str
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()

    @property
    def identity(self) -> str:
        """sha256 (hex) of what makes two starts in one folder the same run."""
        return store.digest(
            {
                "name": self.name,
                "stage": self.stage,
                "params": {key: str(value) for key, value in self.params.items()},
                "inputs": [asdict(item) for item in self.inputs],
            }
        )


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint of the run that is whole on the disk.

    Attributes:
        path: its folder, relative to the run folder if it lies there.
        digest: sha256 (hex) of its manifest.
        step: optimizer step.
        tokens: consumed until then.
        time_ms: unix time (ms) at which it was recorded.
        url: of its uploaded copy, if there is one.
        metrics: of that step: name -> (value, unix time in ms at which it was logged).
    """

    path: str
    digest: str
    step: int
    tokens: int
    time_ms: int
    url: str | None = None
    metrics: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            **asdict(self),
            "metrics": {name: [_json_number(value), ms] for name, (value, ms) in self.metrics.items()},
        }

    @staticmethod
    def of(data: Mapping[str, Any]) -> CheckpointRecord:
        """The inverse of `plain`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        metrics = {str(name): (float(value), int(ms)) for name, (value, ms) in data["metrics"].items()}
        return CheckpointRecord(**{**data, "metrics": metrics})


@dataclass
class RunRecord:
    """The content of `run.json`.

    Attributes:
        id: 32 hex digits; the tag "run_uid" in MLflow, by which a server's run is found again.
        identity: `RunInfo.identity`.
        experiment: MLflow experiment.
        final: results at the end, by metric name.
        artifacts: files to store with the run, relative to the run folder.
        start_time_ms: unix time, milliseconds.
        end_time_ms: likewise; None while it runs.
        replaces: ids of earlier runs of this folder that were given up for this one.
        checkpoints: those that are there, by step.
        cuts: how often the run went back to an earlier step without being started anew.
    """

    id: str
    identity: str
    name: str
    stage: str
    experiment: str
    start_time_ms: int
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[DatasetInput] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    status: Status = "RUNNING"
    end_time_ms: int | None = None
    replaces: list[str] = field(default_factory=list)
    checkpoints: list[CheckpointRecord] = field(default_factory=list)
    cuts: int = 0

    @staticmethod
    def new(info: RunInfo, experiment: str, start_time_ms: int, uid: str | None = None) -> RunRecord:
        """A run that begins now."""
        record = RunRecord(uid or uuid.uuid4().hex, info.identity, info.name, info.stage, experiment, start_time_ms)
        record.describe(info)
        return record

    def describe(self, info: RunInfo) -> None:
        """Take over params, tags and inputs."""
        self.params = {key: str(value) for key, value in info.params.items()}
        self.tags = {**self.tags, **{key: str(value) for key, value in info.tags.items()}, "stage": info.stage}
        self.inputs = list(info.inputs)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the content."""
        return store.digest(self._plain())

    def _plain(self) -> dict[str, Any]:
        final = {key: _json_number(value) for key, value in self.final.items()}
        checkpoints = [one.plain() for one in self.checkpoints]
        return {"format": FORMAT, **asdict(self), "final": final, "checkpoints": checkpoints}

    def save(self, run_dir: Path) -> None:
        """Write `run.json` atomically."""
        store.write_json(str(run_dir / RUN_FILE), self._plain())

    @staticmethod
    def load(run_dir: Path) -> RunRecord:
        """Read `run.json`.

        Raises:
            UserError: the folder holds no run.
            CorruptFile: the file is damaged.
        """
        path = run_dir / RUN_FILE
        if not path.exists():
            raise UserError(f"no tracked run here ({RUN_FILE} is missing)", where=str(run_dir), fix="give a run folder")
        data = store.read_json(str(path))
        try:
            if data.pop("format") != FORMAT:
                raise UserError("written by another version", where=str(path), fix="use the version that wrote it")
            data["inputs"] = [DatasetInput(**item) for item in data["inputs"]]
            data["final"] = {key: float(value) for key, value in data["final"].items()}
            data["checkpoints"] = [CheckpointRecord.of(one) for one in data.get("checkpoints", [])]
            return RunRecord(**data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"not a run record ({error!r})", where=str(path), fix="delete the file") from None


@dataclass(frozen=True)
class MetricRecord:
    """One line of `metrics.jsonl`; `time` in unix seconds."""

    step: int
    tokens: int
    time: float
    metrics: Mapping[str, float]

    @property
    def time_ms(self) -> int:
        """Unix time in milliseconds, as servers are told."""
        return round(self.time * 1000)

    def to_line(self) -> bytes:
        """The line, newline included."""
        values = {key: _json_number(value) for key, value in self.metrics.items()}
        return orjson.dumps({"step": self.step, "tokens": self.tokens, "time": self.time, "metrics": values}) + b"\n"


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _record(line: bytes, where: str) -> MetricRecord:
    try:
        data = orjson.loads(line)
        values = {str(key): float(value) for key, value in data["metrics"].items()}
        return MetricRecord(int(data["step"]), int(data["tokens"]), float(data["time"]), values)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"not a metric record ({error!r})", where=where, fix="delete that line") from None


def read_metrics(run_dir: Path, offset: int = 0, name: str = METRICS_FILE) -> Iterator[tuple[int, MetricRecord]]:
    """The complete records from byte `offset` on, each with the byte offset behind it.

    Args:
        run_dir: the run folder; a missing file holds no records.
        offset: 0, or one that this function gave.
        name: the file.

    Raises:
        CorruptFile: a line is no metric record; names its byte.
    """
    path = run_dir / name
    if not path.exists():
        return
    with path.open("rb") as handle:
        handle.seek(offset)
        for line in handle:
            if not line.endswith(b"\n"):
                return
            record = _record(line, f"{path}, byte {offset}")
            offset += len(line)
            yield offset, record


def records_of(run_dir: Path, step: int) -> list[MetricRecord]:
    """The records of one step, looked for from the end of the file, whose steps never fall.

    Raises:
        CorruptFile: a line is no metric record.
    """
    path = run_dir / METRICS_FILE
    if not path.exists():
        return []
    with path.open("rb") as handle:
        start = handle.seek(0, os.SEEK_END)
        end = b""
        while True:
            whole, newline, _ = end.rpartition(b"\n")
            # Until the file's beginning is reached, the first line may lack its own.
            lines = whole.split(b"\n")[1 if start else 0 :] if newline else []
            records = [_record(line, str(path)) for line in lines]
            if start == 0 or (records and records[0].step < step):
                return [record for record in records if record.step == step]
            size = min(start, max(_TAIL, len(end)))
            start = handle.seek(start - size)
            end = handle.read(size) + end


def cut_back(run_dir: Path, at_step: int) -> None:
    """Move the records of steps after `at_step` to the file of those that were given up; drop a torn last line."""
    path = run_dir / METRICS_FILE
    if not path.exists():
        return
    records = [record for _, record in read_metrics(run_dir)]
    given_up = [record.to_line() for record in records if record.step > at_step]
    if given_up:  # first, so that a kill in between loses nothing
        with (run_dir / CUT_FILE).open("ab") as handle:
            handle.writelines(given_up)
    store.write_bytes(str(path), b"".join(record.to_line() for record in records if record.step <= at_step))


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a kill left without its newline."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        store.write_bytes(str(path), content[: content.rfind(b"\n") + 1])
