import shutil
import threading
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import small_engine

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from pipeline.checkpoint import language_model
from pipeline.checkpoint.disk import flush
from pipeline.checkpoint.store import (
    BEST,
    LATEST,
    MANIFEST,
    STATE,
    TOKENIZER,
    CheckpointManifest,
    CheckpointStore,
    Cursor,
    facts_of,
    open_checkpoint,
)

FILES = (f"{STATE}/rank_00000.safetensors", f"{STATE}/rank_00001.safetensors", TOKENIZER)


def save(checkpoints: CheckpointStore, step: int) -> Path:
    tmp = checkpoints.begin(step)
    for name in FILES:
        (tmp / name).write_bytes(f"{name} of step {step}".encode() * 20)
        flush(tmp / name)
    files = {name: facts_of(tmp / name) for name in FILES}
    return checkpoints.commit(tmp, small_engine.manifest(step, state={"adam_step": step}, files=files))


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep_last=2)


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
    assert manifest.bytes == sum((folder / name).stat().st_size for name in FILES)
    assert not manifest.weights_only
    manifest.verify(folder)


def test_the_last_ones_and_milestones_are_kept(tmp_path: Path) -> None:
    checkpoints = CheckpointStore(tmp_path, keep_last=2, milestone=5 * small_engine.CONSUMED)
    for step in (2, 4, 6, 8, 10, 12, 14):
        save(checkpoints, step)
    assert checkpoints.steps() == [6, 10, 12, 14]
    assert (tmp_path / LATEST).resolve().name == "step_00000014"


def test_what_is_uploaded_now_is_dropped_later(checkpoints: CheckpointStore) -> None:
    save(checkpoints, 2)
    assert checkpoints.pin([2, 3]) == [2]
    for step in (4, 6, 8):
        save(checkpoints, step)
    assert checkpoints.steps() == [2, 6, 8]
    assert checkpoints.pin([]) == []
    assert checkpoints.steps() == [6, 8]


def test_an_upload_that_ends_while_a_checkpoint_becomes_visible_does_not_drop_it(
    checkpoints: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(checkpoints, 2)
    uploads = []
    point_at = checkpoints.point_at

    def while_pointing(folder: Path) -> bool:
        uploads.append(threading.Thread(target=checkpoints.pin, args=([],)))
        uploads[-1].start()
        uploads[-1].join(0.2)
        return point_at(folder)

    monkeypatch.setattr(checkpoints, "point_at", while_pointing)
    save(checkpoints, 4)
    uploads[-1].join()
    assert checkpoints.steps() == [2, 4]


def test_the_best_is_kept_until_a_better_one_is_written(checkpoints: CheckpointStore) -> None:
    checkpoints.select(2)
    assert checkpoints.best is None
    for step in (2, 4, 6, 8):
        save(checkpoints, step)
    assert (checkpoints.best, checkpoints.steps()) == (2, [2, 6, 8])
    assert (checkpoints.folder / BEST).resolve() == checkpoints.path(2)
    checkpoints.select(10)
    assert (checkpoints.best, checkpoints.steps()) == (2, [2, 6, 8])
    save(checkpoints, 10)
    assert (checkpoints.best, checkpoints.steps()) == (10, [8, 10])
    again = CheckpointStore(checkpoints.folder, keep_last=1)  # as behind a restart from step 8
    again.select(8)
    assert again.best == 8
    again.select(None)
    save(again, 9)
    assert (again.best, again.steps()) == (None, [9])


def test_a_new_checkpoint_is_never_the_one_that_is_dropped(tmp_path: Path) -> None:
    """A run that went back behind a damaged checkpoint writes smaller steps than that one has."""
    checkpoints = CheckpointStore(tmp_path, keep_last=1, milestone=12 * small_engine.CONSUMED)
    save(checkpoints, 8)
    shutil.copytree(checkpoints.path(8), checkpoints.path(12))
    save(checkpoints, 10)
    assert checkpoints.steps() == [10]
    assert (tmp_path / LATEST).resolve() == checkpoints.path(10).resolve()


def test_a_checkpoint_without_a_manifest_counts_for_nothing(checkpoints: CheckpointStore) -> None:
    save(checkpoints, 2)
    save(checkpoints, 4)
    (checkpoints.path(4) / MANIFEST).unlink()
    save(checkpoints, 6)
    assert checkpoints.steps() == [2, 6]


def test_the_same_step_again_replaces_it(checkpoints: CheckpointStore) -> None:
    (save(checkpoints, 4) / FILES[0]).write_bytes(b"damaged")
    save(checkpoints, 4)
    assert open_checkpoint(str(checkpoints.path(4)))[1].cursor.step == 4
    assert {path.name for path in checkpoints.folder.iterdir()} == {"step_00000004", LATEST}


def test_beginning_clears_what_was_left_half_written(checkpoints: CheckpointStore) -> None:
    first = checkpoints.begin(4)
    (first / STATE / "part").write_text("x")
    (checkpoints.folder / f"{LATEST}{store.TMP_SUFFIX}").symlink_to("step_00000004")
    again = checkpoints.begin(4)
    assert [path.name for path in checkpoints.folder.iterdir()] == [again.name]
    assert first.name != again.name, "a rank that outlived its run could write into it"
    assert checkpoints.steps() == []


def test_a_file_that_another_host_wrote_elsewhere_is_noticed(checkpoints: CheckpointStore) -> None:
    tmp = checkpoints.begin(4)
    (tmp / FILES[0]).write_bytes(b"1")
    files = {name: {"sha256": "", "bytes": 1} for name in FILES[:2]}
    with pytest.raises(UserError, match=r"rank_00001\.safetensors: what a rank wrote does not arrive.*all hosts share"):
        checkpoints.commit(tmp, small_engine.manifest(4, files=files))
    assert checkpoints.steps() == []


def test_a_checkpoint_that_a_user_names_is_verified_and_its_link_followed(checkpoints: CheckpointStore) -> None:
    folder = save(checkpoints, 4)
    assert open_checkpoint(str(checkpoints.folder / LATEST)) == (folder.resolve(), CheckpointManifest.load(folder))
    with pytest.raises(UserError, match="no checkpoint here"):
        open_checkpoint(str(checkpoints.folder))
    (folder / FILES[0]).write_bytes(b"x" * (folder / FILES[0]).stat().st_size)
    with pytest.raises(CorruptFile, match="sha256 differs"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, "does not match its digest"),
        ({"format": 2}, r"written by an earlier version of this program \(format 2, not 3\); use that version"),
        ({"format": 99}, "written by another version"),
        ({"more": 1}, "not a checkpoint manifest"),
        ({"cursor": None}, "not a checkpoint manifest"),
        ({"cursor": {"step": 4}}, "not a checkpoint manifest"),
    ],
)
def test_a_changed_manifest_is_refused(checkpoints: CheckpointStore, change: dict[str, object], message: str) -> None:
    path = save(checkpoints, 4) / MANIFEST
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **change}))
    with pytest.raises(UserError, match=message):
        CheckpointManifest.load(path.parent)


def test_a_manifest_that_is_no_table_is_refused(checkpoints: CheckpointStore) -> None:
    path = save(checkpoints, 4) / MANIFEST
    path.write_bytes(b"[1]")
    with pytest.raises(CorruptFile, match="not a checkpoint manifest"):
        CheckpointManifest.load(path.parent)


def test_a_checkpoint_of_another_shape_names_what_differs() -> None:
    manifest = small_engine.manifest(4)
    language_model.check_model(manifest, dict(manifest.model), "here")
    with pytest.raises(UserError, match=r"another model shape: n_layer 2 \(here 3\), vocab_size 300 \(here 50257\)"):
        language_model.check_model(manifest, {"n_layer": 3, "vocab_size": 50_257}, "here")


def test_any_change_changes_the_digest() -> None:
    manifest = small_engine.manifest(4)
    for changed in (replace(manifest, seed=2), replace(manifest, state={"adam_step": 4}), small_engine.manifest(5)):
        assert changed.digest != manifest.digest
