"""The status of runs whose process is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folder import hold

from pipeline.exit_codes import ExitCode, write_ended
from pipeline.runs import RunFolder
from pipeline.tracking import RunInfo, Tracker
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow import sync
from pipeline.tracking.runfolder import METRICS_FILE, RunRecord
from pipeline.tracking.settle import settle

_LOGGED = """
tracker = Tracker.start(folder.path, RunInfo("run", "pretrain"), None, "sigkill")
tracker.log({"train/loss": 2.5}, step=1, tokens=64)
"""


def status(uri: str, run_id: str) -> str:
    return str(connect(uri).get_run(run_id).info.status)


def test_a_killed_run_is_marked_by_a_sync_and_runs_again_when_resumed(tmp_path: Path, mlflow_store: str) -> None:
    process = hold(tmp_path, then=_LOGGED)
    run_id = sync(tmp_path, mlflow_store).run_id
    assert status(mlflow_store, run_id) == "RUNNING"  # it does
    process.kill()
    process.wait()
    assert RunRecord.load(tmp_path).status == "RUNNING"  # it could not say so
    assert sync(tmp_path, mlflow_store).run_id == run_id
    assert status(mlflow_store, run_id) == "KILLED"
    record = RunRecord.load(tmp_path)
    assert record.status == "KILLED"
    assert record.end_time_ms is not None
    # That of its last line, or of the record itself, which was written first.
    assert record.end_time_ms == (tmp_path / METRICS_FILE).stat().st_mtime_ns // 1_000_000

    folder = RunFolder(tmp_path)
    folder.lock()
    tracker = Tracker.resume(tmp_path, RunInfo("run", "pretrain"), None, "sigkill", at_step=1)
    assert not settle(tmp_path)
    sync(tmp_path, mlflow_store)
    assert status(mlflow_store, run_id) == "RUNNING"
    tracker.finish()
    sync(tmp_path, mlflow_store)
    assert status(mlflow_store, run_id) == "FINISHED"


@pytest.mark.parametrize(
    ("code", "status"),
    [(ExitCode.HUNG, "FAILED"), (ExitCode.STOPPED, "KILLED"), (ExitCode.DIVERGED, "FAILED"), (None, "KILLED")],
)
def test_the_code_that_another_rank_left_counts(tmp_path: Path, code: ExitCode | None, status: str) -> None:
    (tmp_path / ".lock").write_text("of a process that is gone")
    Tracker.start(tmp_path, RunInfo("run", "pretrain"), None, "x")
    if code is not None:
        write_ended(tmp_path, code, "why", 3)
    assert settle(tmp_path)
    assert RunRecord.load(tmp_path).status == status


@pytest.mark.parametrize("end", ["FINISHED", "FAILED"])
def test_what_a_run_said_of_its_end_stays(tmp_path: Path, end: str) -> None:
    RunFolder(tmp_path).lock()  # and given up at once
    Tracker.start(tmp_path, RunInfo("run", "pretrain"), None, "x").finish(end)  # type: ignore[arg-type]
    assert not settle(tmp_path)
    assert RunRecord.load(tmp_path).status == end


def test_of_a_folder_that_was_never_claimed_nothing_is_known(tmp_path: Path) -> None:
    Tracker.start(tmp_path, RunInfo("run", "pretrain"), None, "x")
    assert not settle(tmp_path)
    assert RunRecord.load(tmp_path).status == "RUNNING"
