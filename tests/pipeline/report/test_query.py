import dataclasses
from pathlib import Path

import pytest
import report_folders
from report_runs import comparison, data_run

from data_prep.errors import UserError
from pipeline.report.query import load
from pipeline.tracking import RunInfo, Tracker
from pipeline.tracking.mlflow import sync


def test_a_tracked_run_is_read_back(tmp_path: Path, mlflow_store: str) -> None:
    info = RunInfo("gpt", "pretrain", {"optimizer.lr": 1e-3, "data.unigram_entropy": 6.5}, {"digest": "d" * 64})
    with Tracker.start(tmp_path, info, None, "query") as tracker:
        for step in (1, 2, 3):
            tracker.log({"train/loss": 5.0 - step, "perf/tokens_per_s": step * 1e3}, step, step * 4096)
        tracker.log({"val/loss": float("nan")}, 2, 2 * 4096)
        tracker.log({"val/loss": 2.5}, 3, 3 * 4096)
    sync(tmp_path, mlflow_store)
    found = load(mlflow_store, "query")
    (run,) = found.pretrain
    assert (run.name, run.status, run.tokens) == ("gpt", "FINISHED", 12_288)
    assert run.curves["train/loss"] == [(4096, 4.0), (8192, 3.0), (12_288, 2.0)]
    assert run.curves["val/loss"] == [(12_288, 2.5)]
    assert (run.tokens_per_second, run.unigram_entropy) == (2000.0, 6.5)
    assert run.params["optimizer.lr"] == "0.001"
    assert (found.data, found.finetune, found.evaluate) == ({}, [], [])
    assert (run.folder, run.url) == (str(tmp_path), "")


def test_runs_are_picked_by_name_or_id_and_files_come_from_the_store_where_the_folder_is_gone(
    tmp_path: Path, mlflow_store: str
) -> None:
    report_folders.write_all(tmp_path / "runs", "picked")
    for name in ("tiny", "suite-tiny", "layers"):
        sync(tmp_path / "runs" / name, mlflow_store)
    (tmp_path / "runs").rename(tmp_path / "gone")
    everything = load(mlflow_store, "picked")
    assert [run.name for run in everything.pretrain] == ["tiny"]
    (suite,) = everything.evaluate
    assert (suite.folder, list(suite.files)) == ("", ["result.json"])
    assert set(everything.experiments[0].files) == {"experiment.yaml", "children.csv"}
    picked = load(mlflow_store, "picked", ["layers", suite.run_id[:8]])
    assert [run.name for run in (*picked.evaluate, *picked.experiments)] == ["suite-tiny", "layers"]
    assert picked.pretrain == []
    with pytest.raises(UserError, match="no run has the name or id 'typo'"):
        load(mlflow_store, "picked", ["typo"])


def test_of_a_data_stage_done_twice_the_newest_counts() -> None:
    old, new = data_run("links", 1, (9, 1), {}), dataclasses.replace(data_run("links", 1, (9, 2), {}), start_ms=50)
    first = data_run("submissions", 0, (9, 9), {})
    stages = comparison([new, old, first]).data["/chain/data"]
    assert [(run.name, run.metrics["rows_out"]) for run in stages] == [("submissions", 9), ("links", 2)]


def test_a_store_that_has_no_such_experiment_is_not_there_or_does_not_answer(tmp_path: Path, mlflow_store: str) -> None:
    with pytest.raises(UserError, match=r"there is no experiment 'typo'; it has .*Default"):
        load(mlflow_store, "typo")
    missing = tmp_path / "mlflow.db"
    with pytest.raises(UserError, match="there is no tracking store yet"):
        load(f"sqlite:///{missing}", "webtext")
    assert not missing.exists()
    with pytest.raises(UserError, match="MLflow cannot be used"):
        load("http://127.0.0.1:9", "webtext")
