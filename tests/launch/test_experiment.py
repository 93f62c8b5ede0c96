"""An experiment as a user runs it: killed, run again, complete; parent and children in MLflow."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest
from commands import command, environment, run
from mlflow.tracking import MlflowClient
from small_model import write_task

CONFIGS = {
    "experiment.yaml": """
name: small
title: Animals
dir: runs
device: cpu
seeds: [1]
arms:
  - {name: counts, kind: features, config: counts.yaml}
  - {name: first task, config: finetune.yaml, set: [init.checkpoint=$MODEL]}
  - {name: second task, config: finetune.yaml, after: first task, set: [task.aux_lm=0]}
tracking: {experiment: small}
""",
    "counts.yaml": "run: {name: any}\ntask: {name: animals, path: task}\ntfidf: {}\n",
    "finetune.yaml": """
run: {name: any}
init: {checkpoint: none}
task: {name: animals, path: task, dropout: 0.0}
train: {epochs: 1, global_batch: 8, micro_batch: 8}
optimizer: {lr: 1e-2}
""",
}


def test_a_missing_file_and_a_wrong_key_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\ntitle: X\ndir: runs\narm: []\n")
    done = run("python", "experiment", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: bad.yaml: unknown key arm (and 1 more problems); did you mean arms?"
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_killed_experiment_goes_on_with_what_is_missing(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", str(pretrained))
    write_task(tmp_path / "task")
    for name, text in CONFIGS.items():
        (tmp_path / name).write_text(text)
    folder = tmp_path / "runs" / "small"
    listed = run("python", "experiment", "experiment.yaml", "--dry-run", cwd=tmp_path)
    assert "small: 0 of 3 runs are complete" in listed.stdout
    assert "[3/3] second task, seed 1: to be run" in listed.stdout
    assert not folder.exists()

    started = subprocess.Popen(command("python", "experiment", "experiment.yaml"), cwd=tmp_path, env=environment())
    log = folder / "logs" / "first-task-s1.log"
    _wait(lambda: log.exists() and log.stat().st_size > 0)
    children = psutil.Process(started.pid).children(recursive=True)
    started.kill()
    started.wait()
    _wait(lambda: not any(map(_alive, children)))  # nothing goes on without it
    kept = (folder / "counts-s1" / "result.json").stat()

    done = run("python", "experiment", "experiment.yaml", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert lines[0].startswith("[1/3] counts, seed 1: test/accuracy ")
    assert lines[0].endswith("(complete)")
    assert "eta" in lines[1]
    assert (folder / "counts-s1" / "result.json").stat().st_mtime_ns == kept.st_mtime_ns
    assert "| second task |" in (folder / "table.md").read_text()
    assert (folder / "children.csv").read_text().count("\n") == 4
    assert (folder / "plot.png").stat().st_size > 0
    assert "3 of 3" in run("python", "experiment", "experiment.yaml", "--dry-run", cwd=tmp_path).stdout

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    runs = {one.info.run_name: one for one in found}
    parent = runs.pop("small")
    assert set(runs) == {"counts-s1", "first-task-s1", "second-task-s1"}
    assert {one.data.tags["mlflow.parentRunId"] for one in runs.values()} == {parent.info.run_id}
    assert {one.info.status for one in found} == {"FINISHED"}
    shown = {name: one.data.metrics["test/accuracy"] for name, one in runs.items()}
    assert parent.data.metrics["second task/test/accuracy/median"] == shown["second-task-s1"]
    assert runs["second-task-s1"].data.tags["upstream.finetune"] == runs["first-task-s1"].data.tags["digest"]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(condition: object, seconds: float = 120) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
