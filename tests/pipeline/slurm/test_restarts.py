from __future__ import annotations

import time
from pathlib import Path

import pytest

from data_prep.errors import UserError
from pipeline.exit_codes import ExitCode, write_ended
from pipeline.slurm import restarts
from pipeline.slurm.decide import MAX_STOPS, REQUEUE

JOB = {"SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "n[1-2]"}
KILLED = ["srun: error: n2: task 1: Killed"]


def end(run: Path, code: int, said: list[str] | None = None) -> int:
    return restarts.end(run, JOB, code, False, said or [], 2).code


def test_starts_are_noted_and_a_new_job_begins_to_count_anew(tmp_path: Path) -> None:
    assert restarts.begin(tmp_path, JOB) == (True, f"start 1 of {tmp_path.name} from its beginning")
    assert end(tmp_path, 137, KILLED) == REQUEUE
    assert restarts.begin(tmp_path, JOB)[1].startswith("start 2 of")
    assert end(tmp_path, 137, KILLED) == 137
    assert [one.suspect for one in restarts.read(tmp_path)] == ["n2", "n2"]
    other = {**JOB, "SLURM_JOB_ID": "6"}
    assert restarts.begin(tmp_path, other)[1].startswith("start 1 of")
    assert restarts.end(tmp_path, other, 137, False, KILLED, 2).exclude == ()


def test_an_end_that_an_earlier_start_wrote_says_nothing(tmp_path: Path) -> None:
    write_ended(tmp_path, ExitCode.DIVERGED, "spikes", 9)
    time.sleep(0.01)
    restarts.begin(tmp_path, JOB)
    assert end(tmp_path, 1) == REQUEUE
    restarts.begin(tmp_path, JOB)
    write_ended(tmp_path, ExitCode.DIVERGED, "spikes", 9)
    assert end(tmp_path, 1) == 3


def test_the_newest_checkpoint_says_how_far_a_start_came(tmp_path: Path) -> None:
    for _ in range(3):
        restarts.begin(tmp_path, JOB)
        (tmp_path / "checkpoints" / f"step_{10 * (restarts.newest_step(tmp_path) // 10 + 1):08d}").mkdir(parents=True)
        assert end(tmp_path, 137, KILLED) == REQUEUE
    assert restarts.begin(tmp_path, JOB)[1] == f"start 4 of {tmp_path.name} from the checkpoint of step 30"
    assert [one.step for one in restarts.read(tmp_path)] == [0, 10, 20, 30]


def test_starts_that_slurm_ended_are_said_and_bounded(tmp_path: Path) -> None:
    restarts.begin(tmp_path, JOB)
    assert restarts.begin(tmp_path, JOB)[1].endswith("the start before on n[1-2] was ended by Slurm")
    for _ in range(MAX_STOPS - 2):
        assert restarts.begin(tmp_path, JOB)[0]
    may, line = restarts.begin(tmp_path, JOB)
    assert not may
    assert line.startswith("not started: ")


def test_outside_of_a_job_and_without_a_start_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="SLURM_JOB_ID is not set"):
        restarts.begin(tmp_path, {})
    with pytest.raises(UserError, match="no start is noted"):
        end(tmp_path, 0)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "restarts.json").write_text('[{"x": 1}]')
    with pytest.raises(UserError, match="not a list of starts"):
        restarts.begin(tmp_path, JOB)


def test_a_run_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run: no folder to write in"):
        restarts.begin(tmp_path / "file" / "run", JOB)
