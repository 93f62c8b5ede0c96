"""Brings an MLflow store up to date with a run folder. mlflow is imported late, and in this package only.

What a store already has is asked of the store itself, whenever it is reached anew: for each metric it names the last
step (= tokens) it holds, and only later records are sent. So nothing is lost or sent twice, whether the store was away,
the process was killed between a request and its answer, or the run does some steps a second time, behind a resume or a
roll-back: MLflow cannot take points back, so of those steps it keeps what it has, while `metrics.jsonl` holds what came
later. Each batch is one transaction in MLflow's SQL stores; identical points (same name, time, step, value) are kept
once.
"""

from __future__ import annotations

import getpass
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from pipeline.tracking import lineage
from pipeline.tracking.connection import BATCH_METRICS, connect, log_metrics, metric_key
from pipeline.tracking.models import find_model, send_checkpoints
from pipeline.tracking.runfolder import METRICS_FILE, MLFLOW_FILE, SYSTEM_FILE, DatasetInput, RunRecord, read_metrics
from pipeline.tracking.settle import settle
from pipeline.tracking.system import PREFIX as SYSTEM
from pipeline.tracking.uri import reason, shown, sqlite_path

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

UID_TAG = "run_uid"
FOLDER_TAG = "run_folder"
"""Tag with the absolute path of the run folder."""
STEP_METRIC = "progress/optimizer_step"
_PARENT_RUN = "mlflow.parentRunId"  # by which MLflow's pages nest runs
EVALUATION = "evaluate"
"""The stage whose scores are also those of the model that it was made from."""
_BATCH_OTHERS = 100  # params or tags: the REST API's limit for one log_batch
_NO_PARAMS = (
    "run.dir",
    "tracking.",
    "checkpoint.",
    "health.",
    "log.",
    "parallel.timeout_minutes",
    "profile",
    "samples",
)
"""Settings that decide how a run is kept and watched and nothing of what comes out; they stay in `config.yaml`."""
_UNSET = ("None", "[]", "{}")
_PARAM_CHARS, _TAG_CHARS, _DIGEST_CHARS = 6000, 5000, 32
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for training runs


@dataclass(frozen=True)
class SyncResult:
    """What one store has now.

    Attributes:
        uri: the store, without credentials.
        experiment_id: MLflow's id of the experiment.
        run_id: MLflow's id of the run.
        points: metric values sent this time.
    """

    uri: str
    experiment_id: str
    run_id: str
    points: int


def sync(run_dir: str | Path, uri: str) -> SyncResult:
    """Send what `uri` does not have yet of a run folder; safe to repeat, and while the run goes on.

    A run whose process was killed without a word is marked KILLED first.

    Raises:
        UserError: no run folder, or the store cannot be used.
    """
    folder = Path(run_dir)
    settle(folder)
    try:
        return Mirror(folder, uri).push()
    except UserError:
        raise
    except Exception as error:
        raise cannot_use(uri, error) from error


def cannot_use(uri: str, error: Exception) -> UserError:
    """The one clear line for a store that fails."""
    return UserError(
        f"MLflow cannot be used ({reason(error)})",
        where=shown(uri),
        fix="check that the server runs and the address is right (MLFLOW_TRACKING_URI wins over the config)",
    )


class _Bound:
    """A run of the store, and what the store was last known to have of it."""

    def __init__(self, run: Run) -> None:
        self.run_id, self.experiment_id = str(run.info.run_id), str(run.info.experiment_id)
        self.status, self.stage = str(run.info.status), run.data.tags.get("stage", "")
        self.params, self.tags = dict(run.data.params), dict(run.data.tags)
        self.latest = {m.key: (int(m.step), float(m.value)) for m in run.to_proto().data.metrics}
        self.inputs = {(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs} if run.inputs else set()
        self.models_in = {str(i.model_id) for i in run.inputs.model_inputs} if run.inputs else set()
        self.models_out = {str(o.model_id) for o in run.outputs.model_outputs} if run.outputs else set()


class Mirror:
    """One run folder in one store. `push` may be called any number of times; it resumes after a failure.

    Args:
        run_dir: the run folder.
        uri: absolute tracking URI (`uri.resolve_uri`).
    """

    def __init__(self, run_dir: Path, uri: str) -> None:
        self._dir, self._uri = run_dir, uri
        self._client: MlflowClient | None = None
        self._bound: _Bound | None = None
        self._described = ""
        self._rewind()
        self._artifacts: dict[str, str] = {}

    def _rewind(self) -> None:
        self._offset = self._system_offset = self._tokens = 0
        self._file: tuple[int, ...] = ()

    def push(self) -> SyncResult:
        """Send all that the folder holds and the store lacks.

        Raises:
            Exception: whatever mlflow raises; the next call asks the store anew what it has.
        """
        try:
            return self._push()
        except BaseException:
            self._bound = None
            raise

    def _push(self) -> SyncResult:
        client = self._client = self._client or connect(self._uri)
        record = RunRecord.load(self._dir)
        if self._bound is None:
            self._bound = self._bind(client, record)
            self._rewind()
            self._described = ""
        bound = self._bound
        described = record.digest
        if described != self._described:
            self._describe(client, bound, record)
        points = self._send_metrics(client, bound, record) + self._send_system(client, bound, record)
        if described != self._described:
            self._send_artifacts(client, bound, record)
            send_checkpoints(client, bound.experiment_id, bound.run_id, self._dir, record, bound.models_out)
            points += self._end(client, bound, record)
            self._described = described
        self._acknowledge(bound)
        return SyncResult(shown(self._uri), bound.experiment_id, bound.run_id, points)

    def _bind(self, client: MlflowClient, record: RunRecord) -> _Bound:
        experiment_id = _experiment(client, self._uri, record.experiment)
        # The tag travels with the creation of the run, so a run made just before a crash is found, not made twice.
        run = _only_run(client, experiment_id, record.id)
        if run is None:
            run = client.create_run(
                experiment_id,
                start_time=record.start_time_ms,
                run_name=record.name,
                tags={UID_TAG: record.id, "stage": record.stage, **_mlflow_tags(record)},
            )
        for old_id in record.replaces:
            old = find_run(client, experiment_id, {UID_TAG: old_id})
            if old is not None and old.info.status == "RUNNING":
                client.set_terminated(old.info.run_id, "KILLED")
        return _Bound(client.get_run(run.info.run_id))

    def _describe(self, client: MlflowClient, bound: _Bound, record: RunRecord) -> None:
        from mlflow.entities import Param, RunTag

        params = {metric_key(k): v[:_PARAM_CHARS] for k, v in record.params.items() if _matters(k, v)}
        tags = {metric_key(k): v[:_TAG_CHARS] for k, v in record.tags.items()}
        tags[FOLDER_TAG] = str(self._dir.absolute())[:_TAG_CHARS]
        # MLflow's params never change; a resume with another setting shows as a tag.
        tags.update({metric_key(f"changed.{k}"): v for k, v in params.items() if bound.params.get(k, v) != v})
        tags.update(self._upstream(client, bound, tags))
        if lineage.PARENT_TAG in tags and _PARENT_RUN not in bound.tags:
            parent = find_run(client, bound.experiment_id, {UID_TAG: tags[lineage.PARENT_TAG]})
            if parent is not None:
                tags[_PARENT_RUN] = str(parent.info.run_id)
        new_params = [Param(k, v) for k, v in params.items() if k not in bound.params]
        new_tags = [RunTag(k, v) for k, v in tags.items() if bound.tags.get(k) != v]
        for i in range(0, max(len(new_params), len(new_tags)), _BATCH_OTHERS):
            part = slice(i, i + _BATCH_OTHERS)
            client.log_batch(bound.run_id, params=new_params[part], tags=new_tags[part])
        bound.params.update({p.key: p.value for p in new_params})
        bound.tags.update({t.key: t.value for t in new_tags})
        inputs = [i for i in record.inputs if (i.name, i.digest[:_DIGEST_CHARS]) not in bound.inputs]
        if inputs:
            client.log_inputs(bound.run_id, [_dataset_input(i) for i in inputs])
            bound.inputs.update((i.name, i.digest[:_DIGEST_CHARS]) for i in inputs)
        if record.status == "RUNNING" != bound.status:
            client.update_run(bound.run_id, status="RUNNING")
            bound.status = "RUNNING"

    def _upstream(self, client: MlflowClient, bound: _Bound, tags: dict[str, str]) -> dict[str, str]:
        """Link the logged models that the run was made from; tags with the ids of the runs that made its inputs."""
        from mlflow.entities import LoggedModelInput

        found = {}
        for stage, digest in lineage.upstream_of(tags).items():
            id_key = lineage.run_id_tag(stage)
            model = find_model(client, bound.experiment_id, digest) if stage in lineage.MODEL_STAGES else None
            if model is not None and model.model_id not in bound.models_in:
                client.log_inputs(bound.run_id, models=[LoggedModelInput(model.model_id)])
                bound.models_in.add(model.model_id)
                if bound.stage == EVALUATION:  # what was sent without the model goes to it; the run keeps it once
                    bound.latest.clear()
                    self._rewind()
            if id_key not in bound.tags:
                run = find_made(client, bound.experiment_id, digest)
                maker = run.info.run_id if run is not None else model.source_run_id if model is not None else None
                if maker is not None:
                    found[id_key] = str(maker)
        return found

    def _send_metrics(self, client: MlflowClient, bound: _Bound, record: RunRecord) -> int:
        from mlflow.entities import Metric

        path = self._dir / METRICS_FILE
        # A file that was cut back is another file: what was read of the old one says nothing of it.
        file = (path.stat().st_ino, record.cuts) if path.exists() else ()
        if file != self._file:
            self._offset = self._tokens = 0
            self._file = file
        # Scores of an evaluation are those of the model, too.
        model = next(iter(bound.models_in)) if bound.stage == EVALUATION and len(bound.models_in) == 1 else None
        batch: list[Metric] = []
        sent = 0
        for end, line in read_metrics(self._dir, self._offset):
            for name, value in {**line.metrics, STEP_METRIC: float(line.step)}.items():
                key = metric_key(name)
                if line.tokens > bound.latest.get(key, (-1, 0.0))[0]:
                    batch.append(Metric(key, value, line.time_ms, line.tokens, model_id=model))
                    bound.latest[key] = (line.tokens, value)
            self._offset, self._tokens = end, max(self._tokens, line.tokens)
            if len(batch) >= BATCH_METRICS:
                sent += log_metrics(client, bound.run_id, batch)
                batch = []
        return sent + log_metrics(client, bound.run_id, batch)

    def _send_system(self, client: MlflowClient, bound: _Bound, record: RunRecord) -> int:
        """The state of the machine; its step is the number of seconds since the run began."""
        from mlflow.entities import Metric

        batch: list[Metric] = []
        for end, line in read_metrics(self._dir, self._system_offset, SYSTEM_FILE):
            second = max(0, line.time_ms - record.start_time_ms) // 1000
            for name, value in line.metrics.items():
                key = metric_key(name)
                if second > bound.latest.get(key, (-1, 0.0))[0]:
                    batch.append(Metric(key, value, line.time_ms, second))
                    bound.latest[key] = (second, value)
            self._system_offset = end
        return log_metrics(client, bound.run_id, batch)

    def _send_artifacts(self, client: MlflowClient, bound: _Bound, record: RunRecord) -> None:
        known = _read_acknowledged(self._dir).get(shown(self._uri), {}).get("artifacts", {})
        self._artifacts = {}
        for relative in record.artifacts:
            path = self._dir / relative
            if not path.is_file():
                continue
            digest = store.sha256_of(str(path))
            if known.get(relative) != digest:
                folder = os.path.dirname(relative)  # noqa: PTH120 - MLflow wants the bare text, "" for none
                client.log_artifact(bound.run_id, str(path), None if folder in ("", "..") else folder)
            self._artifacts[relative] = digest

    def _end(self, client: MlflowClient, bound: _Bound, record: RunRecord) -> int:
        from mlflow.entities import Metric

        moment = record.end_time_ms or time.time_ns() // 1_000_000
        steps = [step for key, (step, _) in bound.latest.items() if not key.startswith(SYSTEM)]
        last = max([self._tokens, *steps], default=0)
        final = {metric_key(name): value for name, value in record.final.items()}
        new = {key: value for key, value in final.items() if bound.latest.get(key, (0, None))[1] != value}
        sent = log_metrics(client, bound.run_id, [Metric(k, v, moment, last) for k, v in new.items()])
        bound.latest.update({key: (last, value) for key, value in new.items()})
        if record.status != "RUNNING" and record.status != bound.status:
            _only_run(client, bound.experiment_id, record.id)
            client.set_terminated(bound.run_id, record.status, record.end_time_ms)
            bound.status = record.status
        return sent

    def _acknowledge(self, bound: _Bound) -> None:
        """Tell the folder's reader, and later stages, where the run is to be found."""
        everything = _read_acknowledged(self._dir)
        entry = {
            "experiment_id": bound.experiment_id,
            "run_id": bound.run_id,
            "step_acknowledged": int(bound.latest.get(STEP_METRIC, (0, -1.0))[1]),
            "digest_of_run_json": self._described,
            "artifacts": self._artifacts,
        }
        if everything.get(shown(self._uri)) != entry:
            store.write_json(str(self._dir / MLFLOW_FILE), {**everything, shown(self._uri): entry})


def _matters(name: str, value: str) -> bool:
    """Whether a setting is shown in MLflow: given, and part of what the result depends on."""
    return value not in _UNSET and not name.startswith(_NO_PARAMS)


def _read_acknowledged(run_dir: Path) -> dict[str, Any]:
    path = run_dir / MLFLOW_FILE
    if path.exists():
        with suppress(CorruptFile):  # it can be told again by the store
            return dict(store.read_json(str(path)))
    return {}


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        database = sqlite_path(uri)
        # Without a location an SQLite store puts artifacts under whatever the working directory is.
        location = None if database is None else (database.parent / "mlartifacts" / name).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise UserError(f"the experiment {name!r} was deleted", where=shown(uri), fix="restore it, or use another name")
    return str(found.experiment_id)


def find_run(client: MlflowClient, experiment_id: str, tags: dict[str, str]) -> Run | None:
    """The newest run of the experiment that carries all these tags."""
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    runs = client.search_runs([experiment_id], query, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


def _only_run(client: MlflowClient, experiment_id: str, uid: str) -> Run | None:
    """The run that mirrors a folder. A request to make it may reach a slow server after its sender gave up and made
    another; of several the one that was made last is empty, and is deleted."""
    found = client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'")
    runs: list[Run] = sorted(found, key=lambda run: (-len(run.data.metrics), run.info.run_id))
    for run in runs[1:]:
        if not run.data.metrics:
            client.delete_run(run.info.run_id)
    return runs[0] if runs else None


def find_made(client: MlflowClient, experiment_id: str, digest: str) -> Run | None:
    """The newest run that made the thing with this digest."""
    for tag in lineage.MADE_TAGS:
        run = find_run(client, experiment_id, {tag: digest})
        if run is not None:
            return run
    return None


def _dataset_input(item: DatasetInput) -> Any:
    from mlflow.entities import Dataset, InputTag
    from mlflow.entities import DatasetInput as MlflowInput

    dataset = Dataset(
        name=item.name,
        digest=item.digest[:_DIGEST_CHARS],
        source_type="local",
        source=store.canonical_json({"uri": item.source}).decode(),
    )
    return MlflowInput(dataset, [InputTag("mlflow.data.context", item.context)])


def _mlflow_tags(record: RunRecord) -> dict[str, str]:
    tags = {"mlflow.user": getpass.getuser(), "mlflow.source.type": "LOCAL", "mlflow.source.name": record.stage}
    if "git_commit" in record.tags:
        tags["mlflow.source.git.commit"] = record.tags["git_commit"]
    return tags
