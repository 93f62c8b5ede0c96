import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.manifest import StageManifest, Totals
from launch import track
from pipeline.tracking import RunInfo, Tracker


def test_data_prints_a_line_for_each_stage_and_sync_what_it_sent(
    tmp_path: Path, mlflow_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "links").mkdir(parents=True)
    StageManifest("links", "1", {}, {"dumps": "r" * 64}, Totals(12_345, 678), ()).save(str(tmp_path / "data" / "links"))
    track.main(["data", str(tmp_path / "data"), "--uri", mlflow_store, "--experiment", "launch-track"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["links", "12,345", "->", "678", "rows"]
    assert lines[-1] == f"tracked in {mlflow_store}"
    with Tracker.start(tmp_path / "run", RunInfo("r", "pretrain"), None, "launch-track") as tracker:
        tracker.log({"train/loss": 1.0}, 1, 10)
    for new in ("2 new points", "0 new points"):
        track.main(["sync", str(tmp_path / "run"), "--uri", mlflow_store])
        assert new in capsys.readouterr().out


@pytest.mark.parametrize("command", ["data", "sync"])
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        track.main([command, str(tmp_path), "--uri", f"sqlite:///{tmp_path}/m.db"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {tmp_path}")
    assert len(err.splitlines()) == 1


def test_help_has_examples_from_any_directory(tmp_path: Path) -> None:
    root = Path(track.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, str(root / "launch" / "track.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert "examples:" in done.stdout
    assert "python launch/track.py sync" in done.stdout
