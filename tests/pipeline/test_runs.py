import os
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest
import yaml
from run_folder import hold
from small_model import pretrain_config

from data_prep.errors import UserError
from pipeline import runs
from pipeline.config.schema import PretrainConfig
from pipeline.runs import RunFolder


def config(**changes: Any) -> PretrainConfig:
    return pretrain_config(Path("data"), Path("runs"), **changes)


def test_a_second_process_is_refused_and_told_who_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LOCK_WAIT_SECONDS", 0.5)
    holder = hold(tmp_path / "run", 60)
    with pytest.raises(
        UserError, match=f"process {holder.pid} on {gethostname()} is writing this run; .*other run.name"
    ):
        RunFolder(tmp_path / "run").lock()
    RunFolder(tmp_path / "other").lock()
    holder.kill()
    holder.wait()
    folder = RunFolder(tmp_path / "run")
    folder.lock()  # a killed process leaves no claim behind
    assert (folder.path / ".lock").read_text() == f"{os.getpid()} on {gethostname()}"


def test_the_claim_of_a_run_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    holder = hold(tmp_path / "run", 1.0)
    RunFolder(tmp_path / "run").lock()
    assert holder.wait(60) == 0


def test_the_result_is_that_of_this_very_configuration_and_input(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.result(config(), "data-1") is None
    folder.write_result(config(), "data-1", {"step": 8})
    assert folder.result(config(), "data-1") == {**folder.result(config(), "data-1"), "step": 8}  # type: ignore[dict-item]
    assert folder.result(config(), "data-2") is None
    assert folder.result(config(precision="bf16"), "data-1") is None


def test_another_version_of_the_code_is_another_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write_result(config(), "data", {})
    monkeypatch.setattr(runs, "__version__", "999")
    assert folder.result(config(), "data") is None


def test_a_damaged_result_is_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_result(config(), "data", {})
    (tmp_path / runs.RESULT).write_text('{"config_sha": ')
    assert folder.result(config(), "data") is None


def test_the_stored_configuration_is_the_resolved_one_and_loads_again(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(config())
    stored = yaml.safe_load((tmp_path / runs.CONFIG).read_text())
    assert PretrainConfig.model_validate(stored) == config()
    assert stored["optimizer"]["eps"] == 1e-8  # a default


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run: no folder to write in"):
        RunFolder(tmp_path / "file" / "run").lock()
