"""The run folder: `run.json` says what a run is, `metrics.jsonl` holds its metrics. Both are the truth; servers follow.

`run.json` is replaced atomically. `metrics.jsonl` is append-only, one JSON object a line:
`{"step": optimizer step, "tokens": consumed tokens, "time": unix seconds, "metrics": {name: value}}`; a value that JSON
has no number for is written as the string "nan", "inf" or "-inf". A last line without its newline is one that a crash
cut short, and does not count.
"""

from __future__ import annotations

import math
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
MLFLOW_FILE = "mlflow.json"

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
        return {"format": FORMAT, **asdict(self), "final": final}

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

    def to_line(self) -> bytes:
        """The line, newline included."""
        values = {key: _json_number(value) for key, value in self.metrics.items()}
        return orjson.dumps({"step": self.step, "tokens": self.tokens, "time": self.time, "metrics": values}) + b"\n"


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _lines(path: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    """Byte offset behind each complete line from `offset` on, and the line."""
    if not path.exists():
        return
    with path.open("rb") as handle:
        handle.seek(offset)
        for line in handle:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, line


def read_metrics(run_dir: Path, offset: int = 0) -> Iterator[tuple[int, MetricRecord]]:
    """The complete records from byte `offset` on, each with the byte offset behind it.

    Raises:
        CorruptFile: a line is no metric record; names its byte.
    """
    path = run_dir / METRICS_FILE
    start = offset
    for end, line in _lines(path, offset):
        try:
            data = orjson.loads(line)
            values = {str(key): float(value) for key, value in data["metrics"].items()}
            record = MetricRecord(int(data["step"]), int(data["tokens"]), float(data["time"]), values)
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(
                f"not a metric record ({error!r})", where=f"{path}, byte {start}", fix="delete that line"
            ) from None
        yield end, record
        start = end


def cut_back(run_dir: Path, at_step: int) -> None:
    """Drop the records of steps after `at_step`, and a torn last line."""
    path = run_dir / METRICS_FILE
    if not path.exists():
        return
    kept = [record.to_line() for _, record in read_metrics(run_dir) if record.step <= at_step]
    store.write_bytes(str(path), b"".join(kept))
