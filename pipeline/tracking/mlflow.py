"""Brings an MLflow store up to date with a run folder. The only module that imports mlflow, and it does so late.

What a store already has is asked of the store itself, whenever it is reached anew: for each metric it names the last
step (= tokens) it holds, and only later records are sent. So nothing is lost or sent twice, whether the store was away,
the process was killed between a request and its answer, or the run was resumed and does some steps a second time. Each
batch is one transaction in MLflow's SQL stores; identical points (same name, time, step, value) are kept once.
"""

from __future__ import annotations

import fcntl
import getpass
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from pipeline.tracking import lineage
from pipeline.tracking.runfolder import MLFLOW_FILE, DatasetInput, RunRecord, read_metrics
from pipeline.tracking.uri import reason, shown, sqlite_path

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

UID_TAG = "run_uid"
STEP_METRIC = "progress/optimizer_step"
_BATCH_METRICS, _BATCH_OTHERS = 1000, 100  # the REST API's limits for one log_batch
_KEY_CHARS, _PARAM_CHARS, _TAG_CHARS, _DIGEST_CHARS = 250, 6000, 5000, 32
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for training runs
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "GIT_PYTHON_REFRESH": "quiet",
}


def connect(uri: str) -> MlflowClient:
    """A client whose SQLite store, if it is one, exists and has its tables.

    Raises:
        Exception: whatever mlflow raises when the store cannot be used.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    database = sqlite_path(uri)
    if database is None:
        return MlflowClient(tracking_uri=uri)
    # Processes that create one SQLite store at the same time break each other's migrations, and one that is killed in
    # the middle leaves a store that never works: so one at a time, and under a name that counts only when it is done.
    with _locked(database.with_name(database.name + ".lock")):
        if not database.exists():
            for left in database.parent.glob(f"{database.name}.*{store.TMP_SUFFIX}"):
                left.unlink()
            # A name of its own each time, as mlflow keeps what it opened under a name for the life of the process.
            new = database.with_name(f"{database.name}.{uuid.uuid4().hex}{store.TMP_SUFFIX}")
            MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            new.replace(database)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


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
    """Send what `uri` does not have yet of a run folder; safe to repeat.

    Raises:
        UserError: no run folder, or the store cannot be used.
    """
    folder = Path(run_dir)
    RunRecord.load(folder)
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
        self.status = str(run.info.status)
        self.params, self.tags = dict(run.data.params), dict(run.data.tags)
        self.latest = {m.key: (int(m.step), float(m.value)) for m in run.to_proto().data.metrics}
        self.inputs = {(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs} if run.inputs else set()


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
        self._offset = 0
        self._tokens = 0
        self._artifacts: dict[str, str] = {}

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
            self._offset, self._tokens, self._described = 0, 0, ""
        bound = self._bound
        described = record.digest
        if described != self._described:
            self._describe(client, bound, record)
        points = self._send_metrics(client, bound)
        if described != self._described:
            self._send_artifacts(client, bound, record)
            points += self._end(client, bound, record)
            self._described = described
        self._acknowledge(bound)
        return SyncResult(shown(self._uri), bound.experiment_id, bound.run_id, points)

    def _bind(self, client: MlflowClient, record: RunRecord) -> _Bound:
        experiment_id = _experiment(client, self._uri, record.experiment)
        # The tag travels with the creation of the run, so a run made just before a crash is found, not made twice.
        run = find_run(client, experiment_id, {UID_TAG: record.id})
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

        params = {_key(k): v[:_PARAM_CHARS] for k, v in record.params.items()}
        tags = {_key(k): v[:_TAG_CHARS] for k, v in record.tags.items()}
        # MLflow's params never change; a resume with another setting shows as a tag.
        tags.update({_key(f"changed.{k}"): v for k, v in params.items() if bound.params.get(k, v) != v})
        tags.update(self._upstream_run_ids(client, bound, tags))
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

    def _upstream_run_ids(self, client: MlflowClient, bound: _Bound, tags: dict[str, str]) -> dict[str, str]:
        found = {}
        for key, digest in lineage.upstream_of(tags).items():
            id_key = lineage.run_id_tag(key)
            if id_key not in bound.tags:
                run = find_made(client, bound.experiment_id, digest)
                if run is not None:
                    found[id_key] = str(run.info.run_id)
        return found

    def _send_metrics(self, client: MlflowClient, bound: _Bound) -> int:
        from mlflow.entities import Metric

        batch: list[Metric] = []
        sent = 0
        for end, record in read_metrics(self._dir, self._offset):
            moment = round(record.time * 1000)
            for name, value in {**record.metrics, STEP_METRIC: float(record.step)}.items():
                key = _key(name)
                if record.tokens > bound.latest.get(key, (-1, 0.0))[0]:
                    batch.append(Metric(key, value, moment, record.tokens))
                    bound.latest[key] = (record.tokens, value)
            self._offset, self._tokens = end, max(self._tokens, record.tokens)
            if len(batch) >= _BATCH_METRICS:
                sent += _log_metrics(client, bound.run_id, batch)
                batch = []
        return sent + _log_metrics(client, bound.run_id, batch)

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
        last = max([self._tokens, *(step for step, _ in bound.latest.values())], default=0)
        final = {_key(name): value for name, value in record.final.items()}
        new = {key: value for key, value in final.items() if bound.latest.get(key, (0, None))[1] != value}
        sent = _log_metrics(client, bound.run_id, [Metric(k, v, moment, last) for k, v in new.items()])
        bound.latest.update({key: (last, value) for key, value in new.items()})
        if record.status != "RUNNING" and record.status != bound.status:
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


def find_made(client: MlflowClient, experiment_id: str, digest: str) -> Run | None:
    """The newest run that made the thing with this digest."""
    for tag in lineage.MADE_TAGS:
        run = find_run(client, experiment_id, {tag: digest})
        if run is not None:
            return run
    return None


def _log_metrics(client: MlflowClient, run_id: str, metrics: list[Metric]) -> int:
    for i in range(0, len(metrics), _BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[i : i + _BATCH_METRICS])
    return len(metrics)


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


def _key(name: str) -> str:
    """A name that MLflow takes: letters, digits, `_-. :/`."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:_KEY_CHARS]
