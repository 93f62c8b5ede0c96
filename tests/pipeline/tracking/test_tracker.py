import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking import RunInfo, Tracker, follower
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow import Mirror, sync
from pipeline.tracking.runfolder import CUT_FILE, METRICS_FILE, DatasetInput, RunRecord, read_metrics

NOBODY = "http://127.0.0.1:9"
INFO = RunInfo("run", "pretrain", {"lr": 1e-3})


def steps_on_disk(folder: Path) -> list[int]:
    return [record.step for _, record in read_metrics(folder)]


def loss_points(uri: str, run_id: str) -> list[int]:
    return sorted(m.step for m in connect(uri).get_metric_history(run_id, "train/loss"))


def test_without_a_store_the_run_is_on_disk_and_mlflow_is_never_imported(tmp_path: Path) -> None:
    program = f"""
import sys
from pipeline.tracking import RunInfo, Tracker
with Tracker.start({str(tmp_path)!r}, RunInfo("run", "pretrain"), None, "webtext") as tracker:
    tracker.log({{"train/loss": 2.5}}, step=1, tokens=64)
print("mlflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
    (line,) = (tmp_path / METRICS_FILE).read_text().splitlines()
    data = json.loads(line)
    assert (data["step"], data["tokens"], data["metrics"]) == (1, 64, {"train/loss": 2.5})
    assert RunRecord.load(tmp_path).status == "FINISHED"


def test_a_store_that_nobody_serves_costs_two_lines_and_no_metric(
    tmp_path: Path, mlflow_store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "BACKOFF_SECONDS", (0.05,))
    tracker = Tracker.start(tmp_path, INFO, NOBODY, "nobody")
    for step in range(1, 401):
        tracker.log({"train/loss": 1 / step}, step, step * 10)
    failed = threading.Event()
    threading.Thread(target=lambda: (tracker._follower._thread.join(2), failed.set())).start()  # type: ignore[union-attr]
    failed.wait(10)
    tracker.finish()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tracking:")]
    assert len(lines) == 2
    assert "cannot be used now" in lines[0]
    assert f"python launch/track.py sync {tmp_path}" in lines[1]
    assert steps_on_disk(tmp_path) == list(range(1, 401))
    assert RunRecord.load(tmp_path).status == "FINISHED"
    result = sync(tmp_path, mlflow_store)
    assert loss_points(mlflow_store, result.run_id) == [step * 10 for step in range(1, 401)]


def test_finish_does_not_wait_longer_than_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, called = threading.Event(), threading.Event()

    def hang(self: Mirror) -> None:
        called.set()
        release.wait(60)

    monkeypatch.setattr(Mirror, "push", hang)
    tracker = Tracker.start(tmp_path, INFO, NOBODY, "hangs")
    assert called.wait(60)
    tracker.log({"train/loss": 1.0}, 1, 10)
    tracker.finish(timeout_s=0.1)
    assert not release.is_set()
    assert steps_on_disk(tmp_path) == [1]
    release.set()


@pytest.mark.slow
def test_mlflow_is_imported_on_the_thread_of_the_follower_alone(tmp_path: Path, mlflow_store: str) -> None:
    program = f"""
import builtins, threading
original, threads = builtins.__import__, set()
def recording(name, *args, **kwargs):
    if name.split(".")[0] == "mlflow":
        threads.add(threading.current_thread().name)
    return original(name, *args, **kwargs)
builtins.__import__ = recording
from pipeline.tracking import RunInfo, Tracker
tracker = Tracker.start({str(tmp_path / "run")!r}, RunInfo("r", "pretrain"), {mlflow_store!r}, "threads")
tracker.log({{"train/loss": 2.5}}, step=1, tokens=64)
tracker.finish(timeout_s=150)
print(sorted(threads))
"""
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=200, cwd=tmp_path, env=environment
    )
    assert "MainThread" not in done.stdout
    assert "mlflow-follower" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing is written into the working directory"


def test_a_resume_cuts_the_file_and_doubles_no_point(tmp_path: Path, mlflow_store: str) -> None:
    tracker = Tracker.start(tmp_path, INFO, mlflow_store, "resumed")
    for step in range(1, 9):
        tracker.log({"train/loss": 1 / step}, step, step * 10)
    tracker.finish("KILLED", timeout_s=60)
    first = RunRecord.load(tmp_path)
    tracker = Tracker.resume(tmp_path, INFO, mlflow_store, "resumed", at_step=5)
    assert steps_on_disk(tmp_path) == [1, 2, 3, 4, 5]
    for step in range(6, 13):
        tracker.log({"train/loss": 1 / step, "val/loss": 2.0}, step, step * 10)
    tracker.finish(timeout_s=60)
    assert steps_on_disk(tmp_path) == list(range(1, 13))
    result = sync(tmp_path, mlflow_store)
    assert loss_points(mlflow_store, result.run_id) == [step * 10 for step in range(1, 13)]
    run = connect(mlflow_store).get_run(result.run_id)
    assert (run.info.status, run.data.tags["resume_count"]) == ("FINISHED", "1")
    # A metric that is new in the second attempt arrives for the repeated steps too.
    assert len(connect(mlflow_store).get_metric_history(result.run_id, "val/loss")) == 7
    assert RunRecord.load(tmp_path).id == first.id
    assert RunRecord.load(tmp_path).start_time_ms == first.start_time_ms


@pytest.mark.parametrize("when", ["between two pushes", "within a push"])
def test_a_roll_back_in_mid_run_loses_no_later_step_and_doubles_no_point(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    experiment = f"rolled-back {when}"
    tracker = Tracker.start(tmp_path, INFO, None, experiment)
    mirror = Mirror(tmp_path, mlflow_store)

    def log(first: int, last: int, value: float) -> None:
        for step in range(first, last + 1):
            tracker.log({"train/loss": value}, step, step * 10)

    def go_back() -> None:
        tracker.cut_back(100, "spike of the loss")
        log(101, 200, 2.0)  # lines as long as those before: a reader that did not notice would go on among them

    log(1, 135, 1.0)
    mirror.push()
    if when == "between two pushes":
        go_back()
    else:
        send = Mirror._send_metrics

        def late(self: Mirror, *args: Any) -> int:
            if tracker._record.cuts == 0:
                go_back()
            return send(self, *args)

        monkeypatch.setattr(Mirror, "_send_metrics", late)
    run_id = mirror.push().run_id
    tracker.finish()
    run_id = mirror.push().run_id
    client = connect(mlflow_store)
    points = sorted((p.step // 10, p.value) for p in client.get_metric_history(run_id, "train/loss"))
    # Those that MLflow had stay as they were, and the tag says so.
    assert points == [(step, 1.0) for step in range(1, 136)] + [(step, 2.0) for step in range(136, 201)]
    assert client.get_run(run_id).data.tags["went_back.1"] == (
        "from step 135 to 100: spike of the loss; MLflow may show steps 101 to 135 as they were before"
    )
    # The folder, and any other store, has what counts; what was given up is kept beside it.
    kept = [(r.step, r.metrics["train/loss"]) for _, r in read_metrics(tmp_path)]
    assert kept == [(step, 1.0) for step in range(1, 101)] + [(step, 2.0) for step in range(101, 201)]
    assert [r.step for _, r in read_metrics(tmp_path, 0, CUT_FILE)] == list(range(101, 136))
    other = f"sqlite:///{tmp_path}/other.db"
    found = connect(other).get_metric_history(sync(tmp_path, other).run_id, "train/loss")
    assert sorted((p.step // 10, p.value) for p in found) == kept


def test_a_resumed_run_is_running_in_the_store_again(tmp_path: Path, mlflow_store: str) -> None:
    Tracker.start(tmp_path, INFO, None, "running-again").finish("FAILED")
    sync(tmp_path, mlflow_store)
    tracker = Tracker.resume(tmp_path, INFO, None, "running-again", at_step=0)
    run_id = sync(tmp_path, mlflow_store).run_id
    assert connect(mlflow_store).get_run(run_id).info.status == "RUNNING"
    tracker.finish()
    sync(tmp_path, mlflow_store)
    assert connect(mlflow_store).get_run(run_id).info.status == "FINISHED"


def test_the_same_run_started_again_stays_one_run(tmp_path: Path) -> None:
    Tracker.start(tmp_path, INFO, None, "again").log({"train/loss": 1.0}, 1, 10)
    first = RunRecord.load(tmp_path)
    tracker = Tracker.start(tmp_path, RunInfo("run", "pretrain", {"lr": 1e-3}, {"host": "another"}), None, "again")
    assert steps_on_disk(tmp_path) == []
    tracker.finish()
    assert RunRecord.load(tmp_path).id == first.id


@pytest.mark.parametrize(
    "other",
    [
        RunInfo("run", "pretrain", {"lr": 2e-3}),
        RunInfo("run", "pretrain", {"lr": 1e-3}, {}, [DatasetInput("d", "a" * 64, "/", "training")]),
    ],
    ids=["settings", "data"],
)
def test_another_run_in_the_folder_gives_the_first_one_up(tmp_path: Path, mlflow_store: str, other: RunInfo) -> None:
    experiment = f"given-up-{other.identity[:8]}"
    Tracker.start(tmp_path, INFO, None, experiment).log({"train/loss": 1.0}, 1, 10)
    first = sync(tmp_path, mlflow_store).run_id
    Tracker.start(tmp_path, other, None, experiment).finish()
    second = sync(tmp_path, mlflow_store).run_id
    client = connect(mlflow_store)
    assert first != second
    assert client.get_run(first).info.status == "KILLED"
    assert client.get_run(second).info.status == "FINISHED"
    assert loss_points(mlflow_store, second) == []


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_the_end_status_tells_how_the_block_ended(
    tmp_path: Path, error: type[BaseException] | None, status: str
) -> None:
    def run() -> None:
        with Tracker.start(tmp_path, INFO, None, "x"):
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    record = RunRecord.load(tmp_path)
    assert record.status == status
    assert record.end_time_ms is not None
    assert record.end_time_ms >= record.start_time_ms
