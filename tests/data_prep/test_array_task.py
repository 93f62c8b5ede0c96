"""`data-prep task`: single tasks by rank give the bytes of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import small_web
import test_chain
from typer.testing import CliRunner, Result

from data_prep import lock, runner
from data_prep.cli import application

APP = application()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(APP, list(arguments))


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    return test_chain.arguments(tmp_path, small_web.make(tmp_path / "web"))


def test_tasks_by_rank_give_the_bytes_of_a_run(
    tmp_path: Path, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_run_tasks", test_chain.run_here)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    config, *overrides = given
    other = [config, *overrides[1:], f"root={tmp_path}/other"]
    assert call("links", *other).exit_code == 0

    refused(call("task", config, "nonsense", "0", *overrides), "no stage 'nonsense'", "submissions, links")
    refused(
        call("task", config, "links", "0", *overrides), "the stage submissions is not complete", "`data-prep links`"
    )
    refused(call("task", config, "submissions", "0", *overrides), "has no plan yet", "without a rank")
    planned = call("task", config, "submissions", *overrides)
    assert planned.stdout == "submissions: 1 tasks, ranks 0 to 0\n"
    refused(call("task", config, "submissions", "x", *overrides), "'x' is not a rank")
    refused(call("task", config, "submissions", "1", *overrides), "there is no task 1", "from 0 to 0")
    changed = call("task", config, "submissions", "0", *overrides, "links.over_18=false")
    refused(changed, "settings, code or input have changed since this plan was made")
    assert not (tmp_path / "root/submissions/tasks").exists()

    first = call("task", config, "submissions", "0", *overrides)
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("submissions task 0: complete, ")
    made = (tmp_path / "root/submissions/tasks/00000.json").stat().st_ino
    assert call("task", config, "submissions", "0", *overrides).stdout == first.stdout
    assert (tmp_path / "root/submissions/tasks/00000.json").stat().st_ino == made  # nothing was done again
    refused(call("task", config, "links", "0", *overrides), "the stage submissions is not complete")

    # What the last rank leaves is completed by the stage's command.
    assert call("links", *given).exit_code == 0
    for name in ("tasks", "part-00001.parquet", "stage.json"):
        runner.store.remove(str(tmp_path / "root/links" / name))
    for rank in ("2", "0", "1"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", rank)
        assert call("task", config, "links", *overrides).stdout.startswith(f"links task {rank}: complete, ")
    assert call("links", *given).exit_code == 0
    for name in ("submissions", "links"):
        mine, theirs = (test_chain.hashes(tmp_path / root / name) for root in ("root", "other"))
        assert mine == theirs


def test_neither_beside_a_run_nor_twice_at_once(
    tmp_path: Path, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_run_tasks", test_chain.run_here)
    config, *overrides = given
    assert call("task", config, "submissions", *overrides).exit_code == 0
    with lock.held(f"{tmp_path}/root"):
        refused(call("task", config, "submissions", "0", *overrides), "works here")
        refused(call("run", *given), "works here")
    with lock.held(f"{tmp_path}/root", shared=True):
        refused(call("task", config, "submissions", *overrides), "works here")  # would plan
        with lock.held(f"{tmp_path}/root/submissions/locks/00000"):
            refused(call("task", config, "submissions", "0", *overrides), "locks/00000/run.lock", "works here")
        assert call("task", config, "submissions", "0", *overrides).exit_code == 0


@pytest.mark.slow
def test_in_a_process_of_its_own(tmp_path: Path, given: list[str]) -> None:
    for rank in ([], ["0"]):
        command = [sys.executable, "-m", "data_prep.cli", "task", given[0], "submissions", *rank, *given[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "root/submissions/tasks/00000.json").exists()
    assert done.stdout.startswith("submissions task 0: complete, ")
