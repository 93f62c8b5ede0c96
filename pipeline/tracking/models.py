"""Checkpoints as MLflow's logged models: what they are and where, not their weights.

A run's models are those that its folder lists. Later stages find them by the digest of the checkpoint that they use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking.connection import log_metrics, metric_key
from pipeline.tracking.lineage import DIGEST_TAG, upstream_of, upstream_tags
from pipeline.tracking.runfolder import CheckpointRecord, RunRecord

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.tracking import MlflowClient

MODEL_TYPE = "checkpoint"
MANIFEST = "manifest.json"
_COPIED_PARAMS = ("model.", "precision")
_COPIED_TAGS = ("config_sha", "tokenizer_sha256", "git_commit", "stage")


def _search(client: MlflowClient, experiment_id: str, query: str) -> Iterator[LoggedModel]:
    token = None
    while True:
        page = client.search_logged_models(
            [experiment_id],
            query,
            page_token=token,
            order_by=[{"field_name": "creation_timestamp", "ascending": True}],
        )
        yield from page
        token = page.token
        if not token:
            return


def find_model(client: MlflowClient, experiment_id: str, digest: str) -> LoggedModel | None:
    """The logged model of the checkpoint with this digest; the oldest, if several runs made the same."""
    return next(_search(client, experiment_id, f"tags.{DIGEST_TAG} = '{digest}'"), None)


def send_checkpoints(
    client: MlflowClient, experiment_id: str, run_id: str, run_dir: Path, record: RunRecord, outputs: set[str]
) -> None:
    """Make the models of a run those that its folder lists.

    A model is ready when everything of it is there; one that a failure left unready is brought to its end, and those of
    checkpoints that are gone are deleted.

    Args:
        client: of the store.
        experiment_id: MLflow's id of the experiment.
        run_id: MLflow's id of the run.
        run_dir: the run folder.
        record: what it says.
        outputs: ids of the models that the run is known to have made; new ones are added.
    """
    if not record.checkpoints and not outputs:
        return
    wanted = {one.digest: one for one in record.checkpoints}
    found: dict[str, LoggedModel] = {}
    for model in list(_search(client, experiment_id, f"source_run_id = '{run_id}'")):
        digest = model.tags.get(DIGEST_TAG)
        if digest is None:
            continue  # somebody's own
        if digest not in wanted or digest in found:
            client.delete_logged_model(model.model_id)
        else:
            found[digest] = model
    for digest, checkpoint in wanted.items():
        facts = _tags(run_dir, record, checkpoint)
        if digest not in found:
            model = client.create_logged_model(
                experiment_id,
                name=_name(record.name, checkpoint.step),
                source_run_id=run_id,
                tags=facts,
                params=_params(record, checkpoint),
                model_type=MODEL_TYPE,
            )
        else:
            model = found[digest]
            if any(model.tags.get(key) != value for key, value in facts.items()):
                client.set_logged_model_tags(model.model_id, facts)
        if str(model.status) != "READY":
            _complete(client, run_id, run_dir, model, checkpoint, outputs)


def _complete(
    client: MlflowClient,
    run_id: str,
    run_dir: Path,
    model: LoggedModel,
    checkpoint: CheckpointRecord,
    outputs: set[str],
) -> None:
    from mlflow.entities import LoggedModelOutput, Metric

    # The very points of the run, which keeps equal ones once.
    metrics = [
        Metric(metric_key(name), value, ms, checkpoint.tokens, model_id=model.model_id, run_id=run_id)
        for name, (value, ms) in checkpoint.metrics.items()
    ]
    log_metrics(client, run_id, metrics)
    if model.model_id not in outputs:  # the server refuses a second time
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, checkpoint.tokens)])
        outputs.add(model.model_id)
    manifest = run_dir / checkpoint.path / MANIFEST
    if manifest.is_file():
        client.log_model_artifact(model.model_id, str(manifest))
    client.finalize_logged_model(model.model_id, "READY")


def _name(run: str, step: int) -> str:
    """A name that MLflow takes for a model: none of `/ : . % " '`."""
    return re.sub(r"[^\w-]", "_", f"{run}-step-{step}", flags=re.ASCII)


def _params(record: RunRecord, checkpoint: CheckpointRecord) -> dict[str, str]:
    shape = {key: value for key, value in record.params.items() if key.startswith(_COPIED_PARAMS)}
    return {"step": str(checkpoint.step), "tokens": str(checkpoint.tokens), **shape}


def _tags(run_dir: Path, record: RunRecord, checkpoint: CheckpointRecord) -> dict[str, str]:
    tags = {key: record.tags[key] for key in _COPIED_TAGS if key in record.tags}
    tags |= upstream_tags(upstream_of(record.tags))
    tags |= {DIGEST_TAG: checkpoint.digest, "path": str((run_dir / checkpoint.path).absolute())}
    return tags | ({"url": checkpoint.url} if checkpoint.url is not None else {})
