import math
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from pipeline.tracking import DatasetInput, RunInfo, Tracker
from pipeline.tracking.connection import connect
from pipeline.tracking.lineage import upstream_tags
from pipeline.tracking.mlflow import STEP_METRIC, Mirror, sync
from pipeline.tracking.runfolder import MLFLOW_FILE, RunRecord


def only_run(uri: str, experiment: str) -> Any:
    client = connect(uri)
    found = client.get_experiment_by_name(experiment)
    (run,) = client.search_runs([found.experiment_id])
    return client.get_run(run.info.run_id)


def points(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in connect(uri).get_metric_history(run_id, key))


def offline_run(folder: Path, experiment: str, info: RunInfo | None = None, steps: int = 5) -> None:
    tracker = Tracker.start(folder, info or RunInfo("run", "pretrain"), None, experiment)
    for step in range(1, steps + 1):
        tracker.log({"train/loss": 10.0 - step}, step, step * 100)
    tracker.finish()


def test_everything_of_a_run_arrives_once(tmp_path: Path, mlflow_store: str) -> None:
    inputs = [
        DatasetInput("webtext/train", "a" * 64, "/data", "training"),
        DatasetInput("webtext/validation", "a" * 64, "/data", "validation"),
    ]
    info = RunInfo("a run", "pretrain", {"optimizer.lr": 3e-4, "empty": ""}, {"config_sha": "c" * 64}, inputs)
    tracker = Tracker.start(tmp_path, info, None, "everything")
    tracker.log({"train/loss": 4.0, "odd name @%": math.nan, "big": math.inf}, step=1, tokens=524_288)
    tracker.log({"val/loss": 4.5}, step=1, tokens=524_288)
    tracker.log({"train/loss": 3.0}, step=2, tokens=1_048_576)
    (tmp_path / "config.yaml").write_text("a: 1\n")
    tracker.add_artifact("config.yaml")
    tracker.set_final({"val/loss": 4.5, "test/accuracy": 0.5})
    tracker.set_tags({"digest": "d" * 64})
    tracker.finish("FAILED")

    first, second = sync(tmp_path, mlflow_store), sync(tmp_path, mlflow_store)

    assert (first.points, second.points) == (4 + 2 + 1 + 1, 0)
    assert first.run_id == second.run_id
    run = only_run(mlflow_store, "everything")
    assert run.info.status == "FAILED"
    assert run.info.run_name == "a run"
    assert run.info.end_time == RunRecord.load(tmp_path).end_time_ms
    assert run.data.params == {"optimizer.lr": "0.0003", "empty": ""}
    assert run.data.tags["config_sha"] == "c" * 64
    assert run.data.tags["digest"] == "d" * 64
    assert points(mlflow_store, first.run_id, "train/loss") == [(524_288, 4.0), (1_048_576, 3.0)]
    assert points(mlflow_store, first.run_id, "val/loss") == [(524_288, 4.5)]
    assert points(mlflow_store, first.run_id, STEP_METRIC) == [(524_288, 1.0), (1_048_576, 2.0)]
    assert points(mlflow_store, first.run_id, "test/accuracy") == [(1_048_576, 0.5)]
    assert math.isnan(points(mlflow_store, first.run_id, "odd name __")[0][1])
    found = {(i.dataset.name, i.dataset.digest, i.tags[0].value) for i in run.inputs.dataset_inputs}
    assert found == {("webtext/train", "a" * 32, "training"), ("webtext/validation", "a" * 32, "validation")}
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (artifacts / "config.yaml").read_text() == "a: 1\n"
    assert artifacts.is_relative_to(Path(mlflow_store.removeprefix("sqlite:///")).parent)


def test_many_metrics_go_in_batches_that_the_server_takes(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    sizes = []
    original = MlflowClient.log_batch

    def log_batch(self: MlflowClient, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        sizes.append((len(metrics), len(params), len(tags)))
        original(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    info = RunInfo("run", "pretrain", {f"p{i}": i for i in range(150)})
    offline_run(tmp_path, "batches", info, steps=1500)
    result = sync(tmp_path, mlflow_store)
    assert result.points == 3000 == sum(n for n, _, _ in sizes)
    assert max(n for n, _, _ in sizes) <= 1000
    assert max(n for _, n, _ in sizes) <= 100
    assert len(points(mlflow_store, result.run_id, "train/loss")) == 1500
    assert len(only_run(mlflow_store, "batches").data.params) == 150


@pytest.mark.parametrize("applied", [True, False], ids=["answer lost", "request lost"])
def test_a_failed_batch_is_neither_lost_nor_doubled(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch, applied: bool
) -> None:
    from mlflow.tracking import MlflowClient

    experiment = f"failed-batch-{applied}"
    offline_run(tmp_path, experiment)
    mirror = Mirror(tmp_path, mlflow_store)
    original = MlflowClient.log_batch

    def broken(self: MlflowClient, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        if applied or not metrics:
            original(self, run_id, metrics, params, tags)
        if metrics:
            raise ConnectionError("reset")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", broken)
        with pytest.raises(ConnectionError):
            mirror.push()
    result = mirror.push()
    assert points(mlflow_store, result.run_id, "train/loss") == [(s * 100, 10.0 - s) for s in range(1, 6)]
    assert only_run(mlflow_store, experiment).info.status == "FINISHED"


def test_a_change_of_the_run_while_it_is_being_sent_is_sent_next(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker.start(tmp_path, RunInfo("run", "pretrain"), None, "changing")
    mirror = Mirror(tmp_path, mlflow_store)
    describe = Mirror._describe

    def finishing(self: Mirror, *args: Any) -> None:
        describe(self, *args)
        tracker.set_final({"test/accuracy": 0.25})
        tracker.finish()

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_describe", finishing)
        mirror.push()
    assert only_run(mlflow_store, "changing").info.status == "RUNNING"
    mirror.push()
    run = only_run(mlflow_store, "changing")
    assert (run.info.status, run.data.metrics["test/accuracy"]) == ("FINISHED", 0.25)


def test_without_its_notes_the_same_run_is_found_again(tmp_path: Path, mlflow_store: str) -> None:
    offline_run(tmp_path, "notes")
    first = sync(tmp_path, mlflow_store)
    (tmp_path / MLFLOW_FILE).unlink()
    second = sync(tmp_path, mlflow_store)
    assert (second.run_id, second.points) == (first.run_id, 0)


def test_another_store_gets_the_whole_run(tmp_path: Path, mlflow_store: str) -> None:
    offline_run(tmp_path / "run", "two-stores")
    sync(tmp_path / "run", mlflow_store)
    other = f"sqlite:///{tmp_path}/other/mlflow.db"
    result = sync(tmp_path / "run", other)
    assert len(points(other, result.run_id, "train/loss")) == 5
    assert len((tmp_path / "run" / MLFLOW_FILE).read_text().split('"run_id"')) == 3


def test_a_setting_changed_by_a_resume_shows_as_a_tag(tmp_path: Path, mlflow_store: str) -> None:
    offline_run(tmp_path, "changed-setting", RunInfo("run", "pretrain", {"train.tokens": 500}))
    sync(tmp_path, mlflow_store)
    Tracker.resume(tmp_path, RunInfo("run", "pretrain", {"train.tokens": 900}), None, "changed-setting", 5).finish()
    sync(tmp_path, mlflow_store)
    run = only_run(mlflow_store, "changed-setting")
    assert run.data.params["train.tokens"] == "500"
    assert run.data.tags["changed.train.tokens"] == "900"


def test_upstream_digests_are_joined_with_the_run_that_made_them(tmp_path: Path, mlflow_store: str) -> None:
    offline_run(tmp_path / "data", "joined", RunInfo("shards", "data/shards", {}, {"dataset_digest": "5" * 64}))
    tags = upstream_tags({"shards": "5" * 64, "never seen": "6" * 64})
    offline_run(tmp_path / "pretrain", "joined", RunInfo("gpt", "pretrain", {}, tags))
    maker = sync(tmp_path / "data", mlflow_store).run_id
    user = sync(tmp_path / "pretrain", mlflow_store).run_id
    found = connect(mlflow_store).get_run(user).data.tags
    assert found["upstream.shards"] == "5" * 64
    assert found["upstream.shards.run_id"] == maker
    assert "upstream.never seen.run_id" not in found


def test_a_store_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    offline_run(tmp_path, "unreachable")
    with pytest.raises(
        UserError, match=r"^http://127\.0\.0\.1:9: MLflow cannot be used \(Connection refused\)"
    ) as error:
        sync(tmp_path, "http://someone:secret@127.0.0.1:9")
    assert "secret" not in str(error.value)
    with pytest.raises(UserError, match="no tracked run here"):
        sync(tmp_path / "nothing", "http://127.0.0.1:9")


def test_a_store_whose_creation_was_cut_short_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def killed(self: MlflowClient, max_results: int) -> None:
        (half,) = tmp_path.glob("mlflow.db.*.tmp")
        half.write_bytes(b"half a database")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_experiments", killed)
        with pytest.raises(KeyboardInterrupt):
            connect(uri)
    assert not (tmp_path / "mlflow.db").exists()
    assert [e.name for e in connect(uri).search_experiments()] == ["Default"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def _create(uri: str, barrier: Any, failures: Any) -> None:
    import mlflow.tracking  # noqa: F401 - so that both meet at the store, not in imports

    barrier.wait(60)
    try:
        client = connect(uri)
        client.search_experiments()
    except Exception as error:
        failures.put(repr(error))


@pytest.mark.slow
def test_two_processes_may_create_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, failures = context.Barrier(2), context.Queue()
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    processes = [context.Process(target=_create, args=(uri, barrier, failures)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert failures.empty()
