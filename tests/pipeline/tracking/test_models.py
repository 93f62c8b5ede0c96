"""Checkpoints as logged models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking import RunInfo, Tracker
from pipeline.tracking.connection import connect
from pipeline.tracking.lineage import run_id_tag, upstream_tags
from pipeline.tracking.mlflow import Mirror, sync
from pipeline.tracking.runfolder import RunRecord

INFO = RunInfo("gpt2-1.5b", "pretrain", {"model.n_layer": 2, "optimizer.lr": 1e-3}, {"config_sha": "c" * 64})


def digest(step: int) -> str:
    return f"{step:064d}"


def save(tracker: Tracker, step: int) -> Path:
    folder = tracker.run_dir / "checkpoints" / f"step_{step:08d}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    tracker.log_checkpoint(folder, digest(step), step, step * 10)
    return folder


def train(run_dir: Path, experiment: str, steps: int = 4, info: RunInfo = INFO) -> Tracker:
    """A checkpoint after every second step."""
    tracker = Tracker.start(run_dir, info, None, experiment)
    for step in range(1, steps + 1):
        tracker.log({"train/loss": 10.0 - step}, step, step * 10)
        if step % 2 == 0:
            tracker.log({"val/loss": 20.0 - step}, step, step * 10)
            save(tracker, step)
    return tracker


def models(uri: str, experiment: str) -> dict[int, Any]:
    client = connect(uri)
    found = client.search_logged_models([client.get_experiment_by_name(experiment).experiment_id])
    by_step = {int(model.params["step"]): model for model in found}
    assert len(by_step) == len(found)
    return by_step


def test_a_checkpoint_is_a_model_with_shape_metrics_and_place(tmp_path: Path, mlflow_store: str) -> None:
    train(tmp_path, "models").finish()
    first, second = sync(tmp_path, mlflow_store), sync(tmp_path, mlflow_store)
    assert second.points == 0
    client, found = connect(mlflow_store), models(mlflow_store, "models")
    assert list(found) == [4, 2]
    model = found[2]
    assert (model.name, model.model_type, str(model.status)) == ("gpt2-1_5b-step-2", "checkpoint", "READY")
    assert model.source_run_id == first.run_id
    assert model.params == {"step": "2", "tokens": "20", "model.n_layer": "2"}
    assert (model.tags["digest"], model.tags["config_sha"]) == (digest(2), "c" * 64)
    assert model.tags["path"] == str(tmp_path / "checkpoints" / "step_00000002")
    assert {(m.key, m.step, m.value) for m in model.metrics} == {("train/loss", 20, 8.0), ("val/loss", 20, 18.0)}
    outputs = {(o.model_id, o.step) for o in client.get_run(first.run_id).outputs.model_outputs}
    assert outputs == {(found[2].model_id, 20), (found[4].model_id, 40)}
    # The metrics of a model are points of the run, which has each once.
    assert len(client.get_metric_history(first.run_id, "train/loss")) == 4
    assert len(client.get_metric_history(first.run_id, "val/loss")) == 2
    assert [item.path for item in client.list_logged_model_artifacts(model.model_id)] == ["manifest.json"]


def test_only_checkpoints_that_are_there_are_models(tmp_path: Path, mlflow_store: str) -> None:
    tracker = train(tmp_path, "retention")
    mirror = Mirror(tmp_path, mlflow_store)
    mirror.push()
    shutil.rmtree(tmp_path / "checkpoints" / "step_00000002")
    tracker.log({"train/loss": 4.0}, 6, 60)
    save(tracker, 6)
    tracker.log_checkpoint(tmp_path / "checkpoints" / "step_00000006", digest(6), 6, 60)  # said a second time
    mirror.push()
    assert sorted(models(mlflow_store, "retention")) == [4, 6]
    tracker.cut_back(4, "spike")
    mirror.push()
    assert sorted(models(mlflow_store, "retention")) == [4]
    tracker.finish()


def test_an_uploaded_copy_is_told_later(tmp_path: Path, mlflow_store: str) -> None:
    tracker = train(tmp_path, "uploaded", steps=2)
    sync(tmp_path, mlflow_store)
    before = models(mlflow_store, "uploaded")[2]
    tracker.log_checkpoint(tmp_path / "checkpoints" / "step_00000002", digest(2), 2, 20, url="s3://bucket/step_2")
    sync(tmp_path, mlflow_store)
    after = models(mlflow_store, "uploaded")[2]
    assert (after.model_id, after.tags["url"]) == (before.model_id, "s3://bucket/step_2")
    tracker.finish()


@pytest.mark.parametrize("broken", ["log_batch", "log_outputs", "log_model_artifact", "finalize_logged_model"])
@pytest.mark.parametrize("applied", [True, False], ids=["answer lost", "request lost"])
def test_a_model_that_a_failure_left_half_made_is_completed(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch, broken: str, applied: bool
) -> None:
    from mlflow.tracking import MlflowClient

    experiment = f"half-made-{broken}-{applied}"
    train(tmp_path, experiment, steps=2).finish()
    original = getattr(MlflowClient, broken)

    def failing(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        of_model = broken != "log_batch" or any(m.model_id for m in kwargs.get("metrics", ()))
        if applied or not of_model:
            original(self, *args, **kwargs)
        if of_model:
            raise ConnectionError("reset")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, broken, failing)
        with pytest.raises(ConnectionError):
            Mirror(tmp_path, mlflow_store).push()
    run_id = Mirror(tmp_path, mlflow_store).push().run_id
    (model,) = models(mlflow_store, experiment).values()
    assert str(model.status) == "READY"
    assert len(model.metrics) == 2
    client = connect(mlflow_store)
    assert [o.model_id for o in client.get_run(run_id).outputs.model_outputs] == [model.model_id]
    assert len(client.get_metric_history(run_id, "train/loss")) == 2


@pytest.mark.parametrize("maker_first", [True, False])
def test_a_later_stage_is_linked_to_the_checkpoint_that_it_used(
    tmp_path: Path, mlflow_store: str, maker_first: bool
) -> None:
    experiment = f"linked-{maker_first}"
    train(tmp_path / "gpt", experiment).finish()
    # Of step 2: no run carries that digest, only the model does.
    tags = upstream_tags({"pretrain": digest(2), "shards": "5" * 64})
    for stage in ("evaluate", "finetune"):
        tracker = Tracker.start(tmp_path / stage, RunInfo(stage, stage, {}, tags), None, experiment)
        tracker.log({f"{stage}/score": 0.5}, 2, 20)
        tracker.finish()
    order = ("gpt", "evaluate", "finetune") if maker_first else ("evaluate", "finetune", "gpt", "evaluate", "finetune")
    ids = {name: sync(tmp_path / name, mlflow_store).run_id for name in order}
    client, model = connect(mlflow_store), models(mlflow_store, experiment)[2]
    for stage in ("evaluate", "finetune"):
        run = client.get_run(ids[stage])
        assert [i.model_id for i in run.inputs.model_inputs] == [model.model_id]
        assert run.data.tags[run_id_tag("pretrain")] == ids["gpt"]
        assert len(client.get_metric_history(ids[stage], f"{stage}/score")) == 1
    # Scores of an evaluation belong to the model, those of what was made from it do not.
    scores = {m.key for m in model.metrics} - {"train/loss", "val/loss"}
    assert scores == {"evaluate/score", "progress/optimizer_step"}


def test_the_last_checkpoint_of_a_pretraining_run_is_listed(pretrained: Path) -> None:
    record = RunRecord.load(pretrained.parents[1])
    assert (record.checkpoints[-1].step, record.checkpoints[-1].digest) == (40, record.tags["digest"])
