from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_web

from data_prep import chain, configfile, runner, shards, store
from data_prep.config import DataConfig
from data_prep.errors import UserError
from data_prep.stage import Stage, Task, TaskOutput

Finished = tuple[Path, list[chain.StepResult]]


def run_here(stage: Stage, tasks: list[Task], todo: list[int], complete: int, workers: int, executor: str) -> None:
    """Instead of worker processes, whose start takes longer than the work here."""
    for index in todo:
        with TaskOutput(stage, tasks[index]) as out:
            stage.run_task(tasks[index], out)


def arguments(folder: Path, web: list[str], *overrides: str) -> list[str]:
    """Config and overrides of a chain that writes folder/root."""
    path = folder / "small.yaml"
    path.write_text(small_web.CONFIG)
    return [str(path), f"root={folder}/root", *web, *overrides]


def silent_chain(folder: Path, web: list[str], *overrides: str) -> chain.Chain:
    path, *items = arguments(folder, web, *overrides)
    return chain.Chain(configfile.load(path, DataConfig, items), workers=1, say=lambda line: None)


def hashes(root: Path) -> dict[str, str]:
    """sha256 of everything but the logs and the plans, which hold paths."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "logs" not in path.relative_to(root).parts and path.name != runner.PLAN_FILE
    }


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return small_web.make(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, web: list[str]) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_run_tasks", run_here)
        return folder, silent_chain(folder, web).run()


def test_the_funnel_has_the_known_numbers(finished: Finished) -> None:
    totals = {result.step.name: result.manifest.totals for result in finished[1]}
    w = small_web
    everything = len(w.pages())
    assert totals["submissions"].dropped == {"low-karma": w.LOW_KARMA, "self-post": 1}
    assert (totals["links"].rows_in, totals["links"].rows_out) == (everything - w.LOW_KARMA, everything - w.LOW_KARMA)
    assert (totals["pages"].rows_in, totals["pages"].dropped) == (everything, {"not-linked": w.LOW_KARMA})
    assert totals["filter"].dropped == {"wikipedia": 1}
    assert totals["exact-dedup"].dropped == {"same-text": w.EXACT_COPIES}
    assert totals["near-dedup"].dropped == {"near-duplicate": w.NEAR_COPIES}
    assert totals["shards"].rows_out == w.PAGES


def test_the_dataset_names_its_whole_history(finished: Finished) -> None:
    folder, results = finished
    manifest = shards.DatasetManifest.load(f"{folder}/root/shards")
    manifest.verify(f"{folder}/root/shards")
    before = {r.step.name: r.manifest.digest for r in results if r.step.name not in ("shards", "tasks")}
    assert manifest.lineage.keys() == {*before, "dumps", "archives"}
    assert {name: manifest.lineage[name] for name in before} == before


def test_a_second_run_does_no_task_and_changes_no_byte(
    finished: Finished, web: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, results = finished
    before = hashes(folder / "root")

    def fail(*args: object) -> None:
        raise AssertionError("a task was run again")

    monkeypatch.setattr(runner, "_run_tasks", fail)
    again = silent_chain(folder, web).run()
    assert [r.manifest.digest for r in again] == [r.manifest.digest for r in results]
    assert hashes(folder / "root") == before


def test_one_command_needs_what_comes_before_with_the_same_settings(
    tmp_path: Path, web: list[str], monkeypatch: pytest.MonkeyPatch, finished: Finished
) -> None:
    monkeypatch.setattr(runner, "_run_tasks", run_here)
    mine = silent_chain(tmp_path, web)
    with pytest.raises(UserError, match="the stage submissions is not complete; run `data-prep links`"):
        mine.run_command("filter")
    for command in ("links", "pages", "filter"):
        results = mine.run_command(command)
    assert hashes(tmp_path / "root/filter") == hashes(finished[0] / "root/filter")
    assert [result.step.name for result in results] == ["filter"]
    with pytest.raises(UserError, match=r"the stage pages was made with other settings.*`data-prep pages`"):
        silent_chain(tmp_path, web, "pages.tables=false").run_command("filter")


def test_a_corpus_that_is_filtered_away_names_the_reasons(
    tmp_path: Path, web: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_run_tasks", run_here)
    with pytest.raises(UserError, match=r"nothing is left after the stage filter: .*filter 90 -> 0 \(too-short 89"):
        silent_chain(tmp_path, web, "filter.length.min_chars=100000").run()
    assert not (tmp_path / "root/exact-keys").exists()


def test_missing_input_and_variables_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"inputs\.dumps: no file matches '/nowhere/RS_\*'"):
        chain.raw_files("inputs.dumps", ["/nowhere/RS_*"])
    with pytest.raises(UserError, match=r"inputs\.dumps: the environment variable NOT_SET_HERE .*is not set"):
        chain.raw_files("inputs.dumps", ["${NOT_SET_HERE}/RS_*"])


def test_patterns_may_overlap_and_hold_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a"):
        store.write_bytes(str(tmp_path / name), name.encode())
    monkeypatch.setenv("SMALL_ROOT", str(tmp_path))
    refs = chain.raw_files("inputs.dumps", ["$SMALL_ROOT/b", "${SMALL_ROOT}/*"])
    assert [Path(ref.path).name for ref in refs] == ["b", "a"]


KILLED = """
import sys
import test_chain
from data_prep import cli, runner
runner._run_tasks = test_chain.run_here
cli.main()
"""


@pytest.mark.slow
def test_killed_at_any_stage_and_run_again_gives_the_same_bytes(
    tmp_path: Path, web: list[str], finished: Finished
) -> None:
    """kill -9 of the process group when a stage's first file appears; at last two worker processes do the rest."""
    given = ["run", *arguments(tmp_path, web), "--workers", "2"]
    for stage in ("pages", "near-signatures"):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, *given],
            cwd=Path(__file__).parent,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not list((tmp_path / "root" / stage).rglob("*.parquet*")) and process.poll() is None:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    command = [sys.executable, "-m", "data_prep.cli", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "near-edges" in done.stdout
    assert hashes(tmp_path / "root") == hashes(finished[0] / "root")
