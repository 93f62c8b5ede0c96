from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import finished_corpus
import fsspec
import pytest
from rich.console import Console

from data_prep import failures, lock, status
from data_prep.corpus import Corpus
from data_prep.errors import UserError


@pytest.fixture
def root(finished_config: Path, tmp_path: Path) -> Path:
    return finished_corpus.copied(finished_config, tmp_path / "corpus").parent / "root"


def look(root: Path | str) -> dict[str, status.StageStatus]:
    return {stage.stage: stage for stage in status.status(Corpus.open(str(root))).stages}


def interrupt(root: Path, stage: str, keep: int) -> int:
    """Make a complete stage look as if a run had been killed after `keep` tasks; returns how many tasks it has."""
    folder = root / stage
    (folder / "stage.json").unlink()
    manifests = sorted((folder / "tasks").iterdir())
    for path in manifests[keep:]:
        path.unlink()
    return len(manifests)


def beat(root: Path, stage: str, task: int, age: float = 0.0, **values: object) -> None:
    path = root / stage / "progress" / f"{task:05d}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"done": 25, "total": 100, "unit": "documents", "seconds": 5.0, **values}))
    os.utime(path, (time.time() - age, time.time() - age))


def rendered(root: Path, width: int) -> str:
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(status.render(status.status(Corpus.open(str(root)))))
    return capture.get()


def test_a_finished_corpus_is_complete(root: Path) -> None:
    found = status.status(Corpus.open(str(root)))
    assert found.complete
    assert found.run is None
    filtered = {stage.stage: stage for stage in found.stages}["filter"]
    assert (filtered.done, filtered.tasks, filtered.share) == (2, 2, 1.0)
    assert (filtered.rows_in, filtered.rows_out) == (90, 89)


def test_running_tasks_are_told_with_rate_and_time_left(root: Path) -> None:
    assert interrupt(root, "filter", 1) == 2
    beat(root, "filter", 1)
    stage = look(root)["filter"]
    assert (stage.state, stage.done, stage.tasks) == ("running", 1, 2)
    (task,) = stage.running
    assert (task.task, task.share, task.rate) == (1, 0.25, 5.0)
    assert stage.share == pytest.approx(0.625)
    assert stage.eta == pytest.approx(15.0)  # 75 documents at 5 a second
    assert "filter task 1: 25 %, 25/100 documents, 5 documents/s" in rendered(root, 80)


def test_a_killed_run_is_stopped_and_an_old_heartbeat_is_no_sign_of_life(root: Path) -> None:
    interrupt(root, "filter", 1)
    beat(root, "filter", 1, age=500.0)
    stage = look(root)["filter"]
    assert stage.state == "stopped"
    assert stage.eta is None
    assert stage.running[0].silent == pytest.approx(500, abs=5)


def test_a_held_lock_is_a_sign_of_life(root: Path) -> None:
    interrupt(root, "filter", 1)
    assert look(root)["filter"].state == "stopped"
    with lock.held(str(root)):
        found = status.status(Corpus.open(str(root)))
        assert found.run is not None
        assert found.run["pid"] == os.getpid()
        assert {s.stage: s.state for s in found.stages}["filter"] == "running"
        assert f"at work: process {os.getpid()}" in rendered(root, 80)


def test_failed_tasks_are_named_with_their_last_error_until_they_succeed(root: Path) -> None:
    interrupt(root, "filter", 1)
    failures.save(str(root / "filter"), 1, UserError("bytes\x1b[2J are cut short", where="a.parquet"))
    failures.save(str(root / "filter"), 0, RuntimeError("long ago"))  # task 0 has succeeded since
    stage = look(root)["filter"]
    assert stage.state == "failed"
    (failure,) = stage.failed
    assert failure.task == 1
    text = " ".join(rendered(root, 80).split())
    assert "filter task 1 FAILED: a.parquet: bytes·[2J are cut short" in text
    assert "task_00001.log" in text.replace(" ", "")
    assert "\x1b" not in text


def test_torn_files_do_not_stop_the_look(root: Path) -> None:
    interrupt(root, "filter", 1)
    beat(root, "filter", 1)
    (root / "filter/progress/00001.json").write_text('{"done": 2')
    (root / "filter/tasks/00000.json").write_text("{}")
    (root / "filter/progress/notes.txt").write_text("")
    stage = look(root)["filter"]
    assert (stage.done, stage.running) == (0, ())


def test_tasks_of_another_plan_do_not_count(root: Path) -> None:
    interrupt(root, "filter", 2)
    manifest = root / "filter/tasks/00001.json"
    manifest.write_text(manifest.read_text().replace('"plan": "', '"plan": "0'))
    assert look(root)["filter"].done == 1


def test_stages_that_have_not_begun_wait(root: Path) -> None:
    shutil.rmtree(root / "tasks")
    found = status.status(Corpus.open(str(root)))
    assert found.stages[-1] == status.StageStatus("tasks", "waiting")
    assert not found.complete


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(root: Path, width: int) -> None:
    interrupt(root, "near-dedup", 1)
    beat(root, "near-dedup", 1)
    lines = rendered(root, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_the_table_of_a_large_corpus_fits_80_columns() -> None:
    failed = (status.FailedTask(7, "x" * 100, "/a/b"),)
    counts = (10_240, 1_024, 69_547_149, 69_000_000)
    big = status.StageStatus("exact-duplicates", "running", *counts, 3.0, 360_000.0, (), failed)
    console = Console(width=80, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(status.render(status.Status("webtext", "/root", None, (big,))))
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    for part in ("exact-duplicates", "1,024/10,240", "69.5M", "eta 100:00:00", "1 failed"):
        assert part in text


def test_json_is_plain_data(root: Path) -> None:
    interrupt(root, "filter", 1)
    beat(root, "filter", 1)
    data = json.loads(json.dumps(status.status(Corpus.open(str(root))).as_json()))
    (stage,) = [item for item in data["stages"] if item["stage"] == "filter"]
    assert (stage["state"], stage["share"], stage["running"][0]["task"]) == ("running", 0.625, 1)


def test_a_root_on_an_object_store(root: Path) -> None:
    interrupt(root, "filter", 1)
    beat(root, "filter", 1)
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/status-test", recursive=True)
    try:
        stage = look("memory://status-test")["filter"]
        assert (stage.state, stage.done, stage.running[0].task) == ("running", 1, 1)
    finally:
        memory.rm("/status-test", recursive=True)
