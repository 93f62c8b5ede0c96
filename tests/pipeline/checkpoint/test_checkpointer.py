from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest
import small_engine
from harness import Outcome, outcomes, ranks
from small_engine import TOKENIZER_JSON, manifest, opened, resumed, saved
from small_model import pretrain_config

from data_prep.errors import UserError
from pipeline import runs
from pipeline.checkpoint import checkpointer as module
from pipeline.checkpoint import disk
from pipeline.checkpoint.reader import StateReader
from pipeline.checkpoint.store import LATEST, MANIFEST, TOKENIZER, CheckpointManifest, CheckpointStore, open_checkpoint
from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain
from pipeline.train import session


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 4 and 8, by two ranks; not to be written to."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    assert ranks(2, saved, folder, 4, 8) == [[4, 8], [4, 8]]
    return folder


@pytest.fixture
def folder(two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "checkpoints", symlinks=True))


def test_every_rank_writes_its_part(two: Path) -> None:
    folder, found = open_checkpoint(str(two / LATEST))
    assert folder.name == "step_00000008"
    assert sorted(found.files) == ["state/rank_00000.safetensors", "state/rank_00001.safetensors", TOKENIZER]
    assert found.state == {"adam_step": 8, "loss_scaler": None}
    assert found.cursor == manifest(8).cursor
    assert (folder / TOKENIZER).read_bytes() == TOKENIZER_JSON
    reader = StateReader(folder, found)
    for name, shape in small_engine.SHAPES.items():
        expected = small_engine.value(name, "exp_avg", 8).view(shape)
        assert reader.whole(name, "exp_avg").equal(expected)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_number_of_ranks_goes_on(two: Path, size: int) -> None:
    assert ranks(size, resumed, two) == [8] * size


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert ranks(2, resumed, tmp_path / "nothing") == [None, None]


def _changed_at_once(folder: Path) -> list[bool]:
    """Hold the writing thread back until the state has changed."""
    checkpointer, engine = opened(folder, 4)
    go, original = threading.Event(), module.write_state

    def held_back(*args: Any) -> None:
        assert go.wait(60)
        original(*args)

    module.write_state = held_back
    stalled = checkpointer.save(manifest(4), TOKENIZER_JSON)
    engine.go_on(5)
    before = CheckpointStore(folder, 9).steps()
    nothing_yet = checkpointer.finished()
    go.set()
    checkpointer.wait()
    there = [step.name for step, _ in checkpointer.finished()]
    return [stalled > 0, before == [], nothing_yet == [], there == ["step_00000004"] * (engine.world.rank == 0)]


def test_what_is_written_is_the_state_of_the_save(tmp_path: Path) -> None:
    assert ranks(2, _changed_at_once, tmp_path) == [[True] * 4] * 2
    assert ranks(2, resumed, tmp_path) == [4, 4]


def _second_while_the_first_is_written(folder: Path) -> None:
    checkpointer, engine = opened(folder, 4)
    original = module.write_state
    module.write_state = lambda *args: (time.sleep(1.0), original(*args))
    checkpointer.save(manifest(4), TOKENIZER_JSON)
    engine.go_on(8)
    checkpointer.save(manifest(8), TOKENIZER_JSON)
    checkpointer.close()


def test_a_save_waits_for_the_one_before_and_says_so(tmp_path: Path) -> None:
    first, second = outcomes(2, _second_while_the_first_is_written, tmp_path)
    assert "step 8  waits for the checkpoint before" in first.output
    assert second.output.count("waits") == 0
    assert CheckpointStore(tmp_path, 9).steps() == [4, 8]


def _not_in_the_background(folder: Path) -> list[int]:
    checkpointer, _ = opened(folder, 4, background=False)
    checkpointer.save(manifest(4), TOKENIZER_JSON)
    return CheckpointStore(folder, 9).steps()


def test_without_background_a_save_is_durable_when_it_returns(tmp_path: Path) -> None:
    assert ranks(2, _not_in_the_background, tmp_path) == [[4], [4]]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a byte of rank 0's state": (lambda f: _flip(f / "state/rank_00000.safetensors"), "sha256 differs"),
    "a byte of rank 1's state": (lambda f: _flip(f / "state/rank_00001.safetensors"), "sha256 differs"),
    "a byte of the tokenizer": (lambda f: _flip(f / TOKENIZER), "sha256 differs"),
    "a byte of the manifest": (lambda f: _flip(f / MANIFEST), MANIFEST),
    "state cut short": (lambda f: os.truncate(f / "state/rank_00001.safetensors", 10), "has 10 bytes, the manifest"),
    "tokenizer cut short": (lambda f: os.truncate(f / TOKENIZER, 0), "has 0 bytes, the manifest"),
    "manifest cut short": (lambda f: os.truncate(f / MANIFEST, 50), "not valid JSON"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing"),
    "a file is missing": (lambda f: (f / "state/rank_00000.safetensors").unlink(), "is missing"),
    "a folder in a file's place": (
        lambda f: ((f / TOKENIZER).unlink(), (f / TOKENIZER).mkdir()),
        "a file of the checkpoint is missing",
    ),
    "an earlier format": (
        lambda f: (f / MANIFEST).write_bytes((f / MANIFEST).read_bytes().replace(b'"format": 3', b'"format": 2')),
        r"an earlier version of this program (format 2, not 3)",
    ),
}


def _all_damages(template: Path, base: Path) -> list[tuple[str, int, bool]]:
    """What a resume finds under each damage of the newest; each on a copy, one process group for all."""
    world = small_engine.joined()
    found = []
    for number, (name, (harm, message)) in enumerate(DAMAGES.items()):
        folder = base / str(number)
        if world.is_main:
            shutil.copytree(template, folder, symlinks=True)
            harm(folder / "step_00000008")
        lines: list[str] = []
        checkpointer, engine = opened(folder)
        checkpointer._say = lines.append
        at = checkpointer.resume()
        assert at is not None
        checkpointer.load(*at)
        assert engine.is_at(4)
        passed = [line for line in lines if line.startswith("WARNING: checkpoint of step 8 passed over: ")]
        latest = (folder / LATEST).resolve().name
        found.append((name, at[1].cursor.step, [message in p for p in passed] == [True] and latest == "step_00000004"))
    return found


def test_a_damaged_checkpoint_is_passed_over_and_said(two: Path, tmp_path: Path) -> None:
    for found in ranks(2, _all_damages, two, tmp_path):
        assert found == [(name, 4, True) for name in DAMAGES]


def test_a_run_whose_checkpoints_are_all_damaged_stops(folder: Path) -> None:
    for step in (4, 8):
        _flip(folder / f"step_{step:08d}" / "state/rank_00001.safetensors")
    for one in outcomes(2, resumed, folder):
        assert isinstance(one.error, UserError)
        assert "none of the 2 checkpoints can be loaded (newest: " in str(one.error)
        assert "rank_00001.safetensors: the file's bytes do not match" in str(one.error)


@pytest.mark.parametrize("state", ["missing", "stale", "dangling", "a folder"])
def test_the_link_is_not_trusted_and_mended(folder: Path, state: str) -> None:
    latest = folder / LATEST
    latest.unlink()
    if state == "a folder":
        shutil.copytree(folder / "step_00000004", latest)
    elif state != "missing":
        latest.symlink_to("step_00000004" if state == "stale" else "step_00000009")
    (one,) = outcomes(1, resumed, folder)
    assert one.value == 8, one.trace
    assert "latest now points at step_00000008" in one.output
    assert latest.readlink() == Path("step_00000008")
    assert not list(folder.glob("*.tmp"))


def test_weights_alone_are_refused(folder: Path) -> None:
    for step in (4, 8):
        path = folder / f"step_{step:08d}"
        found = CheckpointManifest.load(path)
        small_engine.manifest(step, files=found.files).write(path)
    for one in outcomes(2, resumed, folder):
        assert isinstance(one.error, UserError)
        assert "holds weights only: training cannot go on from it" in str(one.error)


def _errors(found: list[Outcome]) -> list[str]:
    assert all(isinstance(one.error, UserError) for one in found), [one.trace for one in found]
    return [str(one.error) for one in found]


def _untouched(folder: Path) -> None:
    for step in (4, 8):
        open_checkpoint(str(folder / f"step_{step:08d}"))
    assert sorted(path.name for path in folder.iterdir()) == [LATEST, "step_00000004", "step_00000008"]


def test_too_little_room_is_said_before_anything_is_written(two: Path, small_disk: Path) -> None:
    folder = Path(shutil.copytree(two, small_disk / "checkpoints", symlinks=True))
    with (small_disk / "ballast").open("wb") as handle:
        handle.write(b"x" * (shutil.disk_usage(small_disk).free - 20_000))
    for error in _errors(outcomes(2, saved, folder, 12)):
        assert error.startswith(f"{folder}: not enough free space for the checkpoint of step 12: it needs ")
        needed, free = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:bytes|are free)", error))
        assert needed > 12 * 245 > 0
        assert free <= 20_000 < needed
        assert "; free some space" in error
    _untouched(folder)


def _saved_unchecked(folder: Path, *steps: int) -> list[int]:
    module.check_space = lambda *_: None
    return saved(folder, *steps)


def test_a_disk_that_fills_during_a_save_leaves_the_checkpoints_before(two: Path, small_disk: Path) -> None:
    folder = Path(shutil.copytree(two, small_disk / "checkpoints", symlinks=True))
    free = shutil.disk_usage(small_disk).free
    with (small_disk / "ballast").open("wb") as handle:
        handle.write(b"x" * (free - 8192))
    for error in _errors(outcomes(2, _saved_unchecked, folder, 12)):
        assert "no space left on the device" in error
        assert "free some space" in error
    _untouched(folder)
    (small_disk / "ballast").unlink()
    assert ranks(2, _saved_unchecked, folder, 12) == [[8, 12]] * 2


def _disk_full_on(folder: Path, rank: int) -> list[int]:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    if int(os.environ["RANK"]) == rank:
        module.write_state = full
    return saved(folder, 12)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_disk_that_is_full_on_one_rank_stops_all(folder: Path, rank: int) -> None:
    for error in _errors(outcomes(2, _disk_full_on, folder, rank)):
        assert "no space left on the device" in error
    _untouched(folder)


def _writer_killed_on(folder: Path, rank: int) -> None:
    checkpointer, engine = opened(folder, 12)
    if engine.world.rank == rank:
        module.write_state = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    checkpointer.save(manifest(12), TOKENIZER_JSON)
    while checkpointer.error() is None:
        time.sleep(0.01)
    checkpointer.wait()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_writer_that_is_killed_is_noticed_by_the_other(folder: Path, rank: int) -> None:
    found = outcomes(2, _writer_killed_on, folder, rank)
    assert found[rank].exit_code == -signal.SIGKILL
    assert found[1 - rank].exit_code == 0
    assert isinstance(found[1 - rank].error, RuntimeError)
    for step in (4, 8):
        open_checkpoint(str(folder / f"step_{step:08d}"))
    assert CheckpointStore(folder, 9).steps() == [4, 8]
    assert ranks(2, saved, folder, 12) == [[8, 12]] * 2
    assert not list(folder.glob("*.tmp"))


def test_an_error_in_an_exception_chain_is_still_a_full_disk(tmp_path: Path) -> None:
    def wrapped() -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match="no space left on the device"):
        disk.on_disk(tmp_path, wrapped)
    with pytest.raises(ZeroDivisionError):
        disk.on_disk(tmp_path, lambda: 1 / 0)


def _whole(run: Path) -> list[int]:
    """Steps of the checkpoints, all of which are whole."""
    steps = CheckpointStore(run / "checkpoints", 99).steps()
    for step in steps:
        open_checkpoint(str(run / "checkpoints" / f"step_{step:08d}"))
    return steps


def _pretrain_blindly(config: PretrainConfig) -> dict[str, Any]:
    """Train without a look at the free space, as when another program fills the disk."""
    module.check_space = session.check_disk = lambda *_: None
    return pretrain(config)


def test_a_run_on_a_disk_that_fills_stops_and_goes_on_with_room(small_dataset: Path, small_disk: Path) -> None:
    # In the background, the metrics might be what meets the full disk first.
    kept = {"every": 1, "keep_last": 99, "background": False}
    every = pretrain_config(small_dataset, small_disk, checkpoint=kept)
    (small_disk / "ballast").write_bytes(b"x" * 250_000)  # what is left holds the small files beside the checkpoints
    for one in outcomes(2, _pretrain_blindly, every):
        assert isinstance(one.error, UserError), one.trace
        assert "no space left on the device" in str(one.error)
    checkpoints = small_disk / "run" / "checkpoints"
    steps = _whole(small_disk / "run")
    assert steps == list(range(1, len(steps) + 1))
    assert 1 <= len(steps) < 8
    assert not list(checkpoints.glob("*.tmp"))
    for step in steps[:-1]:
        shutil.rmtree(checkpoints / f"step_{step:08d}")
    last = pretrain_config(small_dataset, small_disk, checkpoint={"every": 8, "keep_last": 1})
    assert [one["step"] for one in ranks(2, pretrain, last)] == [8, 8]


def _held_back(config: PretrainConfig, until: Path) -> dict[str, Any]:
    """Train; the checkpoint is written when the file is there."""
    original = module.write_state

    def write_state(*args: Any) -> None:
        (until.parent / "writing").touch()
        while not until.exists():
            time.sleep(0.01)
        original(*args)

    module.write_state = write_state
    return pretrain(config)


def _impatient(config: PretrainConfig) -> dict[str, Any]:
    runs._LOCK_WAIT_SECONDS = 0.1
    return pretrain(config)


def test_a_second_job_is_refused_while_the_first_still_writes(small_dataset: Path, tmp_path: Path) -> None:
    config = pretrain_config(small_dataset, tmp_path, checkpoint={"every": 8})
    first: list[Outcome] = []
    job = threading.Thread(target=lambda: first.extend(outcomes(1, _held_back, config, tmp_path / "go")))
    job.start()
    while not (tmp_path / "writing").exists() and job.is_alive():
        time.sleep(0.01)
    (second,) = outcomes(1, _impatient, config)
    (tmp_path / "go").touch()
    job.join()
    assert isinstance(second.error, UserError), second.trace
    assert re.search(rf"process \d+ on {gethostname()} is writing this run; ", str(second.error))
    assert first[0].value["step"] == 8, first[0].trace
    assert _whole(tmp_path / "run") == [8]
