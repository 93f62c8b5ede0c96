import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from harness import outcomes

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from pipeline.checkpoint.store import (
    LATEST,
    MANIFEST,
    CheckpointManifest,
    CheckpointStore,
    Cursor,
    flush_files,
    open_checkpoint,
)

FILES = ("native/shards/rank0.pt", "native/shards/rank1.pt", "tokenizer.json", "weights.safetensors")


def describe(step: int) -> Callable[[dict[str, dict[str, Any]]], CheckpointManifest]:
    return lambda files: CheckpointManifest(
        cursor=Cursor(step, 12 * step, 192 * step),
        kind="pretrain",
        seed=1,
        model={"n_layer": 2, "vocab_size": 300},
        data="d",
        topology={"world_size": 2, "zero_stage": 1, "precision": "fp32"},
        tokenizer_sha256="t",
        identity={"optimizer": {"betas": [0.9, 0.95]}},
        config_sha="c",
        lineage={"shards": "s"},
        tracking_run="",
        files=files,
    )


def save(checkpoints: CheckpointStore, step: int) -> Path:
    tmp = checkpoints.begin(step)
    for name in FILES:
        (tmp / name).parent.mkdir(exist_ok=True)
        (tmp / name).write_bytes(f"{name} of step {step}".encode() * 20)
    flush_files(tmp)
    return checkpoints.commit(tmp, describe(step))


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep_last=2)


def newest(checkpoints: CheckpointStore) -> tuple[int | None, list[str]]:
    said: list[str] = []
    found = checkpoints.newest_good(said.append)
    return (found[1].cursor.step if found else None), said


def test_a_checkpoint_is_a_folder_with_a_manifest_and_a_link(checkpoints: CheckpointStore) -> None:
    folder = save(checkpoints, 4)
    assert folder == checkpoints.folder / "step_00000004"
    assert (checkpoints.folder / LATEST).readlink() == Path("step_00000004")
    assert {path.name for path in checkpoints.folder.iterdir()} == {"step_00000004", LATEST}
    manifest = CheckpointManifest.load(folder)
    assert set(manifest.files) == set(FILES)
    assert manifest.cursor == Cursor(4, 48, 768)
    assert manifest.files[FILES[0]] == {
        "sha256": store.sha256_of(str(folder / FILES[0])),
        "bytes": (folder / FILES[0]).stat().st_size,
    }
    manifest.verify(folder)
    assert newest(checkpoints) == (4, [])


def test_the_last_ones_are_kept(checkpoints: CheckpointStore) -> None:
    for step in (2, 4, 6, 8):
        save(checkpoints, step)
    assert checkpoints.steps() == [6, 8]
    assert (checkpoints.folder / LATEST).resolve().name == "step_00000008"


def test_a_new_checkpoint_is_never_the_one_that_is_dropped(tmp_path: Path) -> None:
    """A run that went back behind a damaged checkpoint writes smaller steps than that one has."""
    checkpoints = CheckpointStore(tmp_path, keep_last=1)
    save(checkpoints, 8)
    shutil.copytree(checkpoints.path(8), checkpoints.path(12))
    (checkpoints.path(12) / FILES[0]).unlink()
    save(checkpoints, 10)
    assert checkpoints.steps() == [10]
    assert newest(checkpoints) == (10, [])


def test_no_checkpoint_is_none(checkpoints: CheckpointStore) -> None:
    assert newest(checkpoints) == (None, [])
    checkpoints.begin(4)  # killed before the rename
    assert newest(checkpoints) == (None, [])


def test_beginning_clears_what_was_left_half_written(checkpoints: CheckpointStore) -> None:
    (checkpoints.begin(4) / "native" / "part").write_text("x")
    tmp = checkpoints.begin(6)
    assert [path.name for path in checkpoints.folder.iterdir()] == [tmp.name]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped byte": (lambda f: _flip(f / FILES[1]), "sha256 differs"),
    "truncated": (lambda f: os.truncate(f / FILES[3], 10), "has 10 bytes, the manifest says"),
    "missing": (lambda f: (f / FILES[2]).unlink(), "a file of the checkpoint is missing"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing"),
    "manifest cut": (lambda f: os.truncate(f / MANIFEST, 50), "not valid JSON"),
    "manifest without a field": (lambda f: _edit(f, lambda m: m.pop("seed")), "not a checkpoint manifest"),
    "manifest edited": (lambda f: _edit(f, lambda m: m.update(seed=2)), "does not match its digest"),
    "another format": (lambda f: _edit(f, lambda m: m.update(format=99)), "another format version"),
}


def _edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = orjson.loads((folder / MANIFEST).read_bytes())
    change(data)
    (folder / MANIFEST).write_bytes(orjson.dumps(data))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_said(checkpoints: CheckpointStore, damage: str) -> None:
    save(checkpoints, 4)
    save(checkpoints, 8)
    harm, message = DAMAGES[damage]
    harm(checkpoints.path(8))
    step, said = newest(checkpoints)
    assert step == 4
    assert len(said) == 1
    assert said[0].startswith("WARNING: checkpoint of step 8 passed over: ")
    assert message in said[0]
    with pytest.raises(UserError, match=message):
        open_checkpoint(str(checkpoints.path(8)))


def test_a_run_whose_checkpoints_are_all_damaged_stops(checkpoints: CheckpointStore) -> None:
    for step in (4, 8):
        _flip(save(checkpoints, step) / FILES[0])
    with pytest.raises(UserError, match=r"none of the 2 checkpoints can be loaded \(newest: .*sha256 differs"):
        newest(checkpoints)


def test_a_checkpoint_that_a_user_names_is_verified_and_its_link_followed(checkpoints: CheckpointStore) -> None:
    folder = save(checkpoints, 4)
    assert open_checkpoint(str(checkpoints.folder / LATEST)) == (folder.resolve(), CheckpointManifest.load(folder))
    with pytest.raises(UserError, match="no checkpoint here"):
        open_checkpoint(str(checkpoints.folder))
    _flip(folder / FILES[0])
    with pytest.raises(CorruptFile, match="sha256 differs"):
        open_checkpoint(str(folder))


_POINTS = [
    (store, "sha256_of"),
    (store, "write_json"),
    (store, "fsync_dir"),
    (os, "mkdir"),
    (shutil, "copy2"),
    (os, "rename"),
    (os, "replace"),
    (os, "symlink"),
    (os, "unlink"),
    (os, "rmdir"),
]


def _save_until_killed(folder: Path, survive: int) -> int:
    """Save step 12; SIGKILL before operation number `survive` on the disk; returns how many there were."""
    seen = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            if seen == survive:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1
            return original(*args, **kwargs)

        return call

    for module, name in _POINTS:
        setattr(module, name, counted(getattr(module, name)))
    save(CheckpointStore(folder, keep_last=2), 12)
    return seen


def test_sigkill_at_any_moment_of_saving_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    template = CheckpointStore(tmp_path / "template", keep_last=2)
    save(template, 4)
    save(template, 8)
    (killed,) = outcomes(
        1, _save_until_killed, shutil.copytree(template.folder, tmp_path / "all", symlinks=True), 10**6
    )
    total = killed.value
    assert total > 20
    last_steps = set()
    for survive in range(0, total, 2):
        folder = Path(shutil.copytree(template.folder, tmp_path / str(survive), symlinks=True))
        (killed,) = outcomes(1, _save_until_killed, folder, survive)
        assert killed.exit_code == -signal.SIGKILL
        checkpoints = CheckpointStore(folder, keep_last=2)
        step, said = newest(checkpoints)
        assert step in (8, 12), survive
        assert said == [], survive
        last_steps.add(step)
        open_checkpoint(str(folder / LATEST))
        save(checkpoints, 12)
        assert newest(checkpoints) == (12, [])
        assert checkpoints.steps() == [8, 12]
    assert last_steps == {8, 12}
