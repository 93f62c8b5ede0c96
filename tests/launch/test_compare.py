import os
import subprocess
import sys
from pathlib import Path

import pytest
import report_folders

from launch import compare
from pipeline.tracking import RunInfo, Tracker
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow import sync


def test_tables_on_the_screen_and_the_page_on_disk(
    tmp_path: Path, mlflow_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, lr in (("slow", 1e-4), ("fast", 1e-3)):
        with Tracker.start(tmp_path / name, RunInfo(name, "pretrain", {"lr": lr}), None, "launch-compare") as tracker:
            tracker.log({"train/loss": 4.0, "val/loss": 4.25}, 1, 1_048_576)
        sync(tmp_path / name, mlflow_store)
    output = tmp_path / "report.html"
    compare.main(["--uri", mlflow_store, "--experiment", "launch-compare", "--output", str(output)])
    out = capsys.readouterr().out
    assert "1,048,576" in out
    assert "0.0001" in out
    assert f"report: {output}, {output.with_suffix('.md')}, {output.with_suffix('.csv')}\n" in out
    assert "Loss against tokens" in output.read_text()
    assert len(output.with_suffix(".csv").read_text().splitlines()) == 3


def test_the_page_is_one_run_of_its_own_in_mlflow_however_often_it_is_made(tmp_path: Path, mlflow_store: str) -> None:
    with Tracker.start(tmp_path / "gpt", RunInfo("gpt", "pretrain"), None, "launch-logged") as tracker:
        tracker.log({"val/loss": 4.25}, 1, 1_048_576)
    sync(tmp_path / "gpt", mlflow_store)
    output = tmp_path / "losses.html"
    for _ in range(2):
        compare.main(["--uri", mlflow_store, "--experiment", "launch-logged", "--output", str(output)])
    client = connect(mlflow_store)
    experiment = client.get_experiment_by_name("launch-logged").experiment_id
    (run,) = client.search_runs([experiment], "tags.stage = 'compare'")
    assert (run.info.run_name, run.info.status) == ("comparison-losses", "FINISHED")
    assert run.data.tags["compared"] == "gpt"
    assert "## Pretraining" in run.data.tags["mlflow.note.content"]
    assert "`losses.html`" in run.data.tags["mlflow.note.content"]
    names = [item.path for item in client.list_artifacts(run.info.run_id)]
    assert names == ["losses.csv", "losses.html", "losses.md"]
    assert Path(client.download_artifacts(run.info.run_id, "losses.html")).read_bytes() == output.read_bytes()


def test_run_folders_are_compared_without_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_folders.write_all(tmp_path / "runs", "any")
    output = tmp_path / "report.html"
    compare.main([str(tmp_path / "runs" / name) for name in ("tiny", "suite-tiny")] + ["--output", str(output)])
    out = capsys.readouterr().out
    assert "tiny" in out
    assert "MLflow" not in out
    assert "runs/suite-tiny/" in output.read_text()
    assert not (tmp_path / "report").exists()


def test_an_empty_experiment_says_so(tmp_path: Path, mlflow_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    connect(mlflow_store).create_experiment("launch-empty")
    compare.main(["--uri", mlflow_store, "--experiment", "launch-empty", "--output", str(tmp_path / "r.html")])
    assert "holds no run of the pipeline yet" in capsys.readouterr().out
    assert "No runs" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "typo"], "there is no experiment 'typo'"),
        (["--uri", "http://127.0.0.1:9"], "MLflow cannot be used (Connection refused)"),
        (["--uri", "mlruns"], "does not write to plain folders"),
        (["no-such-run"], "no run has the name or id 'no-such-run'"),
        (["--output", "page.txt"], "the page is an .html file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, mlflow_store: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        compare.main(
            ["--uri", mlflow_store, "--experiment", "Default", "--output", str(tmp_path / "r.html"), *arguments]
        )
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_without_a_store_a_script_run_from_anywhere_says_what_to_do(tmp_path: Path) -> None:
    root = Path(compare.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, str(root / "launch" / "compare.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "there is no tracking store yet" in done.stderr
    assert list(tmp_path.iterdir()) == []
