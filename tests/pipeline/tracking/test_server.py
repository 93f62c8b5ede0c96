"""Against a real MLflow server: away, dying, slow, back again, another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import Server, SlowProxy, free_port, wait_for

from launch.track import main as track
from pipeline.tracking import RunInfo, Tracker, follower
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow import STEP_METRIC
from pipeline.tracking.runfolder import MLFLOW_FILE

TOKENS = 4096


@pytest.fixture(scope="module")
def server(mlflow_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all, which tests start."""
    server = Server(mlflow_store, tmp_path_factory.mktemp("artifacts"))
    yield server
    server.kill()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PERIOD_SECONDS", 0.2)
    monkeypatch.setattr(follower, "BACKOFF_SECONDS", (0.2,))


class Steps:
    """Logs steps, and a checkpoint every hundredth."""

    def __init__(self, tracker: Tracker, first: int = 1) -> None:
        self.tracker, self.step = tracker, first - 1

    def log(self, count: int) -> None:
        for _ in range(count):
            self.step += 1
            self.tracker.log({"train/loss": 1 / self.step, "train/lr": self.step * 1e-3}, self.step, self.step * TOKENS)
            if self.step % 100 == 0:
                folder = self.tracker.run_dir / "checkpoints" / f"step_{self.step}"
                folder.mkdir(parents=True, exist_ok=True)
                self.tracker.log_checkpoint(folder, f"{self.step:064d}", self.step, self.step * TOKENS)


def assert_whole(uri: str, experiment: str, steps: int, status: str = "FINISHED") -> None:
    """One run, each point once, each checkpoint once."""
    client = connect(uri)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    run: Any = client.get_run(found.info.run_id)
    assert run.info.status == status
    for key in ("train/loss", "train/lr", STEP_METRIC):
        points = client.get_metric_history(run.info.run_id, key)
        assert Counter(p.step for p in points) == Counter(s * TOKENS for s in range(1, steps + 1)), key
    models = client.search_logged_models([run.info.experiment_id])
    assert sorted(int(m.params["step"]) for m in models) == list(range(100, steps + 1, 100))
    assert {str(m.status) for m in models} <= {"READY"}
    assert {m.model_id for m in models} == {o.model_id for o in run.outputs.model_outputs}


def acknowledged(run_dir: Path) -> str:
    path = run_dir / MLFLOW_FILE
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
@pytest.mark.usefixtures("hurried")
def test_a_server_that_is_away_at_first_dies_and_comes_back_has_everything_once(
    tmp_path: Path, mlflow_store: str, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    server.kill()
    run_dir = tmp_path / "run"
    tracker = Tracker.start(run_dir, RunInfo("run", "pretrain"), server.uri, "dies")
    steps = Steps(tracker)
    steps.log(150)
    wait_for(lambda: "cannot be used now (Connection refused)" in capfd.readouterr().err, 60)
    server.start()
    steps.log(150)
    wait_for(lambda: '"step_acknowledged": 300' in acknowledged(run_dir), 60)
    server.kill()
    steps.log(700)
    wait_for(lambda: "cannot be used now" in capfd.readouterr().err, 60)
    server.start()
    steps.log(500)
    tracker.set_final({"val/loss": 0.5})
    tracker.finish(timeout_s=120)
    assert_whole(mlflow_store, "dies", 1500)


@pytest.mark.slow
@pytest.mark.usefixtures("hurried")
def test_a_slow_server_keeps_nobody_waiting_and_gets_everything_once(
    tmp_path: Path, mlflow_store: str, server: Server
) -> None:
    server.start()
    run_dir = tmp_path / "run"
    proxy = SlowProxy(server.port, delay=3600.0)
    tracker = Tracker.start(run_dir, RunInfo("run", "pretrain"), proxy.uri, "slow")
    steps = Steps(tracker)
    steps.log(200)
    wait_for(lambda: proxy.requests > 0, 60)
    steps.log(200)  # while a request that is never answered is under way
    assert acknowledged(run_dir) == ""
    tracker.finish("KILLED", timeout_s=0.1)
    proxy.close()

    proxy = SlowProxy(server.port, delay=0.2)
    tracker = Tracker.resume(run_dir, RunInfo("run", "pretrain"), proxy.uri, "slow", at_step=350)
    steps = Steps(tracker, first=351)
    steps.log(150)
    tracker.finish(timeout_s=240)
    proxy.close()
    assert_whole(mlflow_store, "slow", 500)


@pytest.mark.slow
@pytest.mark.usefixtures("hurried")
def test_another_server_gets_everything_from_the_folder(
    tmp_path: Path, mlflow_store: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    nobody = f"http://127.0.0.1:{free_port()}"
    tracker = Tracker.start(run_dir, RunInfo("run", "pretrain"), nobody, "another-server")
    Steps(tracker).log(300)
    tracker.finish("FAILED", timeout_s=60)
    assert f"python launch/track.py sync {run_dir} --uri {nobody}" in capsys.readouterr().err
    server.start()
    for expected in ("900 new points", "0 new points"):
        track(["sync", str(run_dir), "--uri", server.uri])
        assert expected in capsys.readouterr().out
    assert_whole(mlflow_store, "another-server", 300, "FAILED")
