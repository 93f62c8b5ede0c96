"""Stages as job arrays on a real Slurm: the bytes of a local run, and what happens to jobs and to the head process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
import small_web
from stage_examples import numbers_stage
from test_runner import files, inputs
from typer.testing import CliRunner

from data_prep import slurm_executor
from data_prep.cli import application
from data_prep.config import DataConfig
from data_prep.configfile import load
from data_prep.errors import UserError
from data_prep.runner import run_stage
from data_prep.slurm_executor import SlurmSettings

SETTINGS = SlurmSettings(mem="100M", time="10")
MAX_ARRAY = 5
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    slurm_cluster.require()
    here = Path(__file__).parent
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm"), MAX_ARRAY), pytest.MonkeyPatch.context() as patch:
        # What jobs inherit: as of an installed package.
        patch.setenv("PYTHONPATH", f"{here.parents[1]}:{here.parent}:{here}")
        patch.setattr(slurm_executor, "_POLL_SECONDS", 0.3)
        patch.setattr(slurm_executor, "_SETTLE_SECONDS", 1.0)
        yield


def submitted(folder: str) -> list[int]:
    """The tasks that the last submission was for."""
    return list(json.loads(Path(folder, "logs/slurm/ranks_to_run.json").read_text()))


def jobs_of(stage) -> list[slurm_executor.Job]:  # type: ignore[no-untyped-def]
    name = slurm_executor.job_name(stage, [stage.plan_entry(task) for task in stage.plan()])
    return slurm_executor.jobs_named(name) or []


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_two_arrays_with_failing_tasks_then_only_what_is_missing(tmp_path: Path) -> None:
    ok = tmp_path / "ok"
    given = inputs(
        tmp_path,
        "1",
        "2 -1",
        f"3 bad-unless:{ok}",
        "4",
        f"5 kill-once:{tmp_path / 'flag'}",
        "6",
        f"kill-unless:{ok}",
        "8",
    )
    stage = numbers_stage(str(tmp_path / "slurm"), given)
    with pytest.raises(UserError) as error:
        run_stage(stage, workers=2, executor="slurm", slurm=SETTINGS)
    assert str(error.value) == f"{given[2]}: a bad line (1 more tasks failed: [6]); mend it"
    assert (tmp_path / "flag").exists()
    assert len(list(Path(stage.folder, "tasks").iterdir())) == 6
    assert sorted(path.name for path in Path(stage.folder, "failed").iterdir()) == ["00002.json", "00006.json"]
    failure = json.loads(Path(stage.folder, "failed/00006.json").read_text())
    assert failure["error"].startswith("task 6 was killed 2 times when run alone")
    jobs = jobs_of(stage)
    assert len({job.array for job in jobs}) == 2  # 8 tasks, at most 5 an array
    assert {job.index for job in jobs if job.state == "FAILED"} == {2, 6 - MAX_ARRAY}
    assert not Path(stage.folder, slurm_executor.MARKER).exists()

    ok.touch()
    found = run_stage(stage, workers=0, executor="slurm", slurm=SETTINGS)
    assert submitted(stage.folder) == [2, 6]
    local = numbers_stage(str(tmp_path / "local"), given)
    assert run_stage(local, workers=2) == found
    assert files(stage.folder) == files(local.folder)


HEAD = """
import sys
from data_prep.errors import exit_on_user_error
from data_prep.runner import run_stage
from stage_examples import numbers_stage
from test_slurm_executor import SETTINGS
if __name__ == "__main__":
    with exit_on_user_error():
        run_stage(numbers_stage(sys.argv[1], sys.argv[2:]), workers=3, executor="slurm", slurm=SETTINGS)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_head_is_killed_and_finds_its_jobs_again(tmp_path: Path) -> None:
    given = inputs(tmp_path, *(f"{i} -1" for i in range(1, 5)))
    stage = numbers_stage(str(tmp_path / "out"), given)
    slow = {**os.environ, "NUMBERS_PAUSE": "8"}
    head = subprocess.Popen([sys.executable, "-c", HEAD, stage.folder, *given], env=slow)
    while not any(job.state == "RUNNING" for job in jobs_of(stage)):
        assert head.poll() is None
        time.sleep(0.1)
    head.send_signal(signal.SIGKILL)
    head.wait()
    # Nobody else touches the stage while its jobs are there.
    for other, executor in ((stage, "local"), (numbers_stage(stage.folder, given, above=1), "slurm")):
        with pytest.raises(UserError, match=r"Slurm tasks of an earlier run, .* still work on this stage"):
            run_stage(other, workers=1, executor=executor, slurm=SETTINGS)  # type: ignore[arg-type]
    before = jobs_of(stage)
    found = run_stage(stage, workers=3, executor="slurm", slurm=SETTINGS)
    assert {job.array for job in jobs_of(stage)} == {job.array for job in before}
    assert not Path(stage.folder, slurm_executor.MARKER).exists()
    local = numbers_stage(str(tmp_path / "local"), given)
    assert run_stage(local, workers=1) == found
    assert files(stage.folder) == files(local.folder)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_jobs_that_end_without_a_word_are_tried_again_and_named(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1", "kill-group", f"3 kill-group-once:{tmp_path / 'flag'}")
    stage = numbers_stage(str(tmp_path / "out"), given)
    with pytest.raises(UserError, match=r"task 1 ended without a result: its Slurm job is (FAILED|NODE_FAIL)"):
        run_stage(stage, workers=0, executor="slurm", slurm=SETTINGS)
    assert (tmp_path / "flag").exists()
    assert submitted(stage.folder) == [1, 2]
    assert sorted(path.name for path in Path(stage.folder, "tasks").iterdir()) == ["00000.json", "00002.json"]
    failure = json.loads(Path(stage.folder, "failed/00001.json").read_text())
    assert list(Path(failure["log"]).glob("*.out"))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_cancelled_jobs_are_not_submitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBERS_PAUSE", "60")
    given = inputs(tmp_path, "1")
    stage = numbers_stage(str(tmp_path / "out"), given)
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, stage.folder, *given], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while not any(job.state == "RUNNING" for job in jobs_of(stage)):
        assert head.poll() is None
        time.sleep(0.1)
    subprocess.run(["scancel", jobs_of(stage)[0].array], check=True)
    _, errors = head.communicate(timeout=120)
    assert head.returncode == 2
    assert "task 0 ended without a result: its Slurm job is CANCELLED" in errors
    assert len(jobs_of(stage)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_sbatch_refuses_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stage = numbers_stage(str(tmp_path / "out"), inputs(tmp_path, "1"))
    settings = SETTINGS.model_copy(update={"partition": "nowhere"})
    with pytest.raises(UserError, match=r"^stage numbers: sbatch refuses the jobs: .*[Ii]nvalid partition.* `slurm:`"):
        run_stage(stage, workers=1, executor="slurm", slurm=settings)
    assert capfd.readouterr().err == ""
    spaced = numbers_stage(str(tmp_path / "a b"), inputs(tmp_path, "1"))
    with pytest.raises(UserError, match="white space"):
        run_stage(spaced, workers=1, executor="slurm", slurm=SETTINGS)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_command_gives_the_bytes_of_a_local_run_also_inside_a_job(tmp_path: Path) -> None:
    web = small_web.make(tmp_path / "web")
    config = tmp_path / "small.yaml"
    config.write_text(small_web.CONFIG)
    given = shlex.join([str(config), *web, "slurm.mem=100M", "slurm.time=00:10:00"])
    program = f"{sys.executable} -m data_prep.cli links {given}"
    local = f"{program} root={tmp_path}/local --workers 1"
    subprocess.run(local, shell=True, check=True, stdout=subprocess.DEVNULL)
    wrapped = f"{program} root={tmp_path}/slurm --executor slurm --workers 2"
    submitted = subprocess.run(
        ["sbatch", "--parsable", "--mem=200M", f"--output={tmp_path}/head.out", "--wrap", wrapped],
        capture_output=True,
        text=True,
        check=True,
    )
    head = submitted.stdout.strip()
    deadline = time.monotonic() + 200
    while "COMPLETED" not in (state := state_of(head)):
        assert time.monotonic() < deadline and "FAILED" not in state, (tmp_path / "head.out").read_text()
        time.sleep(0.3)
    for name in ("submissions", "links"):
        mine, theirs = files(f"{tmp_path}/slurm/{name}"), files(f"{tmp_path}/local/{name}")
        assert {k: v for k, v in mine.items() if k != "plan.json"} == {
            k: v for k, v in theirs.items() if k != "plan.json"
        }
        assert mine


def state_of(job: str) -> str:
    command = ["squeue", "-h", "--states=all", "-j", job, "-o", "%T"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_time_that_yaml_reads_as_a_number_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(small_web.CONFIG)
    assert load(str(config), DataConfig, ['slurm.time="4:00:00"']).slurm.time == "4:00:00"
    with pytest.raises(
        UserError, match=r"slurm\.time: YAML reads this as a number; write it in quotes.* \(got 14400\)"
    ):
        load(str(config), DataConfig, ["slurm.time=4:00:00"])


def test_without_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    config = tmp_path / "c.yaml"
    config.write_text(f"name: x\nroot: {tmp_path}/r\ninputs: {{dumps: [/nowhere/RS_*], archives: [/nowhere/a]}}\n")
    result = CliRunner().invoke(application(), ["run", str(config), "--executor", "slurm"])
    assert result.exit_code == 2
    assert result.stderr == "error: --executor slurm: Slurm is not installed here; run it on a login node\n"
    assert not (tmp_path / "r").exists()
