"""Whole stages in worker processes: same bytes, skip, resume, and every way to fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from stage_examples import NumbersStage, numbers_stage

from data_prep import store
from data_prep.errors import UserError
from data_prep.manifest import StageManifest
from data_prep.runner import run_stage
from data_prep.stage import TaskOutput


def inputs(folder: Path, *texts: str) -> list[str]:
    paths = []
    for i, text in enumerate(texts):
        path = folder / f"{i}.txt"
        path.write_text(text)
        paths.append(str(path))
    return paths


def files(folder: str) -> dict[str, str]:
    """sha256 of every file of a stage but the logs, which carry times."""
    root = Path(folder)
    return {
        str(p.relative_to(root)): store.sha256_of(str(p))
        for p in root.rglob("*")
        if p.is_file() and p.relative_to(root).parts[0] != "logs"
    }


def failed(stage: NumbersStage) -> dict[int, str]:
    """Task -> error of the records of failures."""
    records = [orjson.loads(path.read_bytes()) for path in Path(stage.folder, "failed").iterdir()]
    assert all(Path(record["log"]).exists() for record in records)
    return {record["task"]: record["error"] for record in records}


def in_process(stage: NumbersStage, order: list[int]) -> None:
    tasks = stage.plan()
    for index in order:
        with TaskOutput(stage, tasks[index]) as out:
            stage.run_task(tasks[index], out)


def test_same_bytes_with_any_workers_and_order_then_skip_repair_and_remake(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1 2", "3 -4", "5")
    one, two, reverse = (numbers_stage(str(tmp_path / name), given) for name in ("one", "two", "reverse"))
    first = run_stage(one, workers=1)
    assert run_stage(two, workers=2) == first
    in_process(reverse, [2, 1, 0])
    said: list[str] = []
    assert run_stage(reverse, workers=2, say=said.append) == first
    assert files(one.folder) == files(two.folder) == files(reverse.folder)
    assert not [name for name in files(one.folder) if name.endswith(".tmp") or name.startswith("progress")]
    assert first.totals.rows_out == 4
    assert first.summary == {"files": 6}
    assert StageManifest.load(one.folder) == first
    # `reverse` found all tasks complete and started nothing.
    assert any("complete, verified" in line for line in said)
    assert not Path(reverse.folder, "logs").exists()

    # One flipped byte: that task alone is done again.
    path = Path(one.folder, "part-00001.parquet")
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    before = {p: p.stat().st_ino for p in Path(one.folder).glob("part-*")}
    said.clear()
    assert run_stage(one, workers=2, say=said.append) == first
    assert said[0] == "numbers: continuing, 2 of 3 tasks are complete"
    assert [p.name for p, inode in before.items() if p.stat().st_ino != inode] == [path.name]
    assert files(one.folder) == files(two.folder)

    # Other settings: all is made anew, and the line says why.
    said.clear()
    Path(one.folder, "stale").touch()
    changed = numbers_stage(one.folder, given, above=2)
    assert run_stage(changed, workers=2, say=said.append).totals.rows_out == 2
    assert said[0] == "numbers: settings changed (above 0 -> 2); making it anew"
    assert "stale" not in files(one.folder)


def test_a_changed_input_is_said(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1")
    stage = numbers_stage(str(tmp_path / "out"), given)
    in_process(stage, [0])
    run_stage(stage, workers=1)
    Path(given[0]).write_text("1 2")
    said: list[str] = []
    assert run_stage(numbers_stage(stage.folder, given), workers=1, say=said.append).totals.rows_out == 2
    assert said[0] == "numbers: the input changed; making it anew"


@pytest.mark.parametrize(
    ("text", "above", "alarm"),
    [
        ("1 2 3", 0, "kept 100.00 % of 3 rows"),
        (" ".join(map(str, range(1, 202))), 200, "kept 0.50 % of 201"),
        ("1 2", 1, ""),
    ],
)
def test_alarms(tmp_path: Path, text: str, above: int, alarm: str) -> None:
    stage = numbers_stage(str(tmp_path / "out"), inputs(tmp_path, text), above=above)
    in_process(stage, [0])
    said: list[str] = []
    run_stage(stage, workers=1, say=said.append)
    warnings = [line for line in said if line.startswith("WARNING: numbers kept")]
    assert len(warnings) == bool(alarm)
    assert alarm in "".join(warnings)


def test_a_bad_file_stops_its_task_alone_and_is_named(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1", "2 bad", "3", "bad", "4")
    stage = numbers_stage(str(tmp_path / "out"), given)
    with pytest.raises(UserError) as error:
        run_stage(stage, workers=2)
    assert str(error.value) == f"{given[1]}: a bad line (1 more tasks failed: [3]); mend it"
    done = sorted(p.name for p in Path(stage.folder, "tasks").iterdir())
    assert done == ["00000.json", "00002.json", "00004.json"]
    assert failed(stage) == {1: f"{given[1]}: a bad line; mend it", 3: f"{given[3]}: a bad line; mend it"}
    assert not Path(stage.folder, "part-00001.parquet").exists()
    assert not [name for name in files(stage.folder) if name.endswith(".tmp")]
    with pytest.raises(FileNotFoundError):
        StageManifest.load(stage.folder)


def test_a_bug_is_no_user_error_and_its_log_is_named(tmp_path: Path) -> None:
    stage = numbers_stage(str(tmp_path / "out"), inputs(tmp_path, "bug"))
    with pytest.raises(RuntimeError, match="stage numbers, task 0 failed; its log: ") as error:
        run_stage(stage, workers=1)
    assert isinstance(error.value.__cause__, KeyError)
    log = Path(str(error.value).partition("its log: ")[2])
    assert "a bug" in log.read_text()
    assert failed(stage) == {0: "KeyError: 'a bug'"}


def test_what_failed_is_recorded_until_it_succeeds(tmp_path: Path) -> None:
    ok = tmp_path / "ok"
    stage = numbers_stage(
        str(tmp_path / "out"), inputs(tmp_path, f"1 bad-unless:{ok}", f"2 kill-unless:{ok}", "3 odd-error-unless")
    )
    with pytest.raises(UserError, match="a bad line"):
        run_stage(stage, workers=2)
    assert failed(stage) == {
        0: f"{tmp_path}/0.txt: a bad line; mend it",
        1: "task 1 was killed 2 times when run alone (out of memory?)",
        2: "ValueError: invalid literal for int() with base 10: 'odd-error-unless'",
    }
    ok.touch()
    with pytest.raises(RuntimeError, match="task 2 failed"):
        run_stage(stage, workers=2)
    assert failed(stage).keys() == {2}


def test_memory_that_is_refused_is_said_as_such(tmp_path: Path) -> None:
    stage = numbers_stage(str(tmp_path / "out"), inputs(tmp_path, "memory"))
    with pytest.raises(UserError, match=r"^stage numbers: task 0 ran out of memory; give it more memory or fewer work"):
        run_stage(stage, workers=1)
    assert failed(stage) == {0: "MemoryError"}


def test_an_error_that_cannot_travel_is_not_taken_for_a_death(tmp_path: Path) -> None:
    stage = numbers_stage(str(tmp_path / "out"), inputs(tmp_path, "odd-error"))
    with pytest.raises(RuntimeError, match="stage numbers, task 0 failed") as error:
        run_stage(stage, workers=1)
    assert str(error.value.__cause__) == "OddError: 1 is not 2"


def test_a_killed_worker_is_tried_again_and_then_reported(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1", f"7 kill-once:{tmp_path / 'flag'}", "kill", "3")
    stage = numbers_stage(str(tmp_path / "out"), given)
    with pytest.raises(
        UserError, match=r"^stage numbers: task 2 was killed 2 times when run alone \(out of memory\?\)"
    ):
        run_stage(stage, workers=2)
    assert (tmp_path / "flag").exists()
    done = sorted(p.name for p in Path(stage.folder, "tasks").iterdir())
    assert done == ["00000.json", "00001.json", "00003.json"]


def test_ctrl_c_ends_a_run_whose_workers_are_stopped(tmp_path: Path) -> None:
    given = inputs(tmp_path, "1 stop", "2 stop", "3 stop")
    child = start_program(tmp_path, str(tmp_path / "out"), given)
    workers: list[str] = []
    while len(workers) < 2 or any(state(pid) != "T" for pid in workers):
        assert child.poll() is None
        time.sleep(0.02)
        workers = [pid for pid in descendants(child.pid) if state(pid) == "T"]
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=90)
    assert child.returncode == 130
    assert errors.splitlines()[-1] == "interrupted: run the same command again to continue"
    assert not [pid for pid in workers if state(pid)]


def test_stopped_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    child = start_program(tmp_path, str(tmp_path / "out"), inputs(tmp_path, "1 stop"))
    while not (workers := [pid for pid in descendants(child.pid) if state(pid) == "T"]):
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.communicate(timeout=90)
    deadline = time.monotonic() + 60
    while any(state(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in workers if state(pid)]


def start_program(tmp_path: Path, folder: str, given: list[str], **environment: str) -> subprocess.Popen[str]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    here = Path(__file__).parent
    return subprocess.Popen(
        [sys.executable, str(script), folder, *given],
        env={**os.environ, "PYTHONPATH": f"{here.parents[1]}:{here}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def descendants(pid: int) -> list[str]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [*children, *(found for child in children for found in descendants(int(child)))]


def state(pid: str) -> str:
    """The letter of `ps`; "" if there is no such process any more."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if letter == "Z" else letter


PROGRAM = """
import sys
from data_prep.errors import exit_on_user_error
from data_prep.runner import run_stage
from stage_examples import numbers_stage
if __name__ == "__main__":
    with exit_on_user_error():
        run_stage(numbers_stage(sys.argv[1], sys.argv[2:]), workers=2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_and_run_again(tmp_path: Path, how: signal.Signals) -> None:
    given = inputs(tmp_path, *(f"{i} -1 {i + 1}" for i in range(1, 7)))
    killed, whole = str(tmp_path / "killed"), str(tmp_path / "whole")
    child = start_program(tmp_path, killed, given, NUMBERS_PAUSE="2")
    while not list(Path(killed).glob("tasks/*.json")) and child.poll() is None:
        time.sleep(0.01)
    workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    child.send_signal(how)
    _, errors = child.communicate(timeout=90)
    if how == signal.SIGINT:
        assert child.returncode == 130
        assert errors.splitlines()[-1] == "interrupted: run the same command again to continue"
        assert "Traceback" not in errors
    complete = len(list(Path(killed).glob("tasks/*.json")))
    assert 0 < complete < 6
    # No worker outlives its parent.
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]

    said: list[str] = []
    stage = numbers_stage(killed, given)
    run_stage(stage, workers=1, say=said.append)
    assert said[0] == f"numbers: continuing, {complete} of 6 tasks are complete"
    other = numbers_stage(whole, given)
    in_process(other, list(range(6)))
    run_stage(other, workers=1)
    assert files(killed) == files(whole)
    assert orjson.loads(Path(killed, "stage.json").read_bytes())["totals"]["rows_out"] == 12
