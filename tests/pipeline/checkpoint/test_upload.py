from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_engine
from harness import outcomes, ranks
from object_store import s3_bucket
from small_engine import TOKENIZER_JSON, manifest, opened, resumed, saved

from data_prep import store
from data_prep.errors import UserError
from pipeline.checkpoint import upload as module
from pipeline.checkpoint.checkpointer import Checkpointer
from pipeline.checkpoint.store import MANIFEST, TOKENIZER, CheckpointManifest, CheckpointStore, open_checkpoint

LAST = "step_00000008"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket, for this process and those that it starts."""
    with s3_bucket("checkpoints") as url:
        yield url


@pytest.fixture(params=["folder", "file://", "s3://"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where copies go: a path or URL."""
    if request.param == "s3://":
        return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}"
    return f"{'file://' if request.param == 'file://' else ''}{tmp_path}/copies"


def aws() -> dict[str, str]:
    """The fork server started without these."""
    return {name: text for name, text in os.environ.items() if name.startswith("AWS_")}


def names(url: str) -> list[str]:
    """Files there, without the URL."""
    root = url.removeprefix("file://")
    return sorted(path.removeprefix(root).lstrip("/") for path in store.listing(f"{url}/**"))


def test_copies_are_whole_and_kept_like_the_checkpoints(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "checkpoints"
    ranks(2, saved, folder, 6, 8)
    first, second = outcomes(2, _saved_with_upload, folder, url, env=aws())
    assert first.value == second.value == [10, 12], first.trace
    assert f"step 12  uploaded and verified at {store.join(url, 'step_00000012')}" in first.output
    assert "uploaded" not in second.output
    ours = sorted(str(path.relative_to(folder)) for path in folder.glob("step_*/**/*") if path.is_file())
    assert names(url) == ours
    assert len(ours) == 2 * 4
    for name in ours:
        assert store.sha256_of(store.join(url, name)) == store.sha256_of(str(folder / name))


def _saved_with_upload(folder: Path, url: str) -> list[int]:
    return saved(folder, 10, 12, upload=url)


def _resumed_with_upload(folder: Path, url: str) -> int | None:
    return resumed(folder, upload=url)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uploaded checkpoints of steps 4 and 8; not to be written to."""
    root = tmp_path_factory.mktemp("uploaded")
    assert ranks(2, _saved_4_and_8, root / "checkpoints", str(root / "copies")) == [[4, 8]] * 2
    return root / "copies"


def _saved_4_and_8(folder: Path, url: str) -> list[int]:
    return saved(folder, 4, 8, upload=url)


def _in_memory(folder: Path) -> tuple[list[int], int | None]:
    there = saved(folder, 4, 8, upload="memory://copies")
    return there, resumed(folder.with_name("again"), upload="memory://copies")


def test_copies_in_memory(tmp_path: Path) -> None:
    assert ranks(1, _in_memory, tmp_path / "checkpoints") == [([4, 8], 8)]


def test_an_empty_run_folder_is_restored(copies: Path, tmp_path: Path) -> None:
    for size in (2, 3):
        folder = tmp_path / str(size)
        first, *_ = found = outcomes(size, _resumed_with_upload, folder, str(copies))
        assert [one.value for one in found] == [8] * size, first.trace
        assert f"restoring the checkpoint of step 8 from {copies}/{LAST}" in first.output
        assert CheckpointStore(folder, 9).steps() == [8]
        assert open_checkpoint(str(folder / "latest"))[1] == CheckpointManifest.load(copies / LAST)


def test_a_run_folder_on_s3_is_restored(s3: str, copies: Path, tmp_path: Path) -> None:
    url = f"{s3}/{uuid.uuid4().hex}"
    for path in store.listing(f"{copies}/**"):
        store.write_bytes(f"{url}/{Path(path).relative_to(copies)}", Path(path).read_bytes())
    found = outcomes(2, _resumed_with_upload, tmp_path / "again", url, env=aws())
    assert [one.value for one in found] == [8, 8], found[0].trace


def test_what_is_here_comes_first_and_what_is_damaged_here_is_restored(copies: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copies, tmp_path / "checkpoints"))
    shutil.rmtree(folder / LAST)
    assert ranks(1, _resumed_with_upload, folder, str(copies)) == [4]
    os.truncate(folder / "step_00000004" / TOKENIZER, 1)
    (one,) = outcomes(1, _resumed_with_upload, folder, str(copies))
    assert one.value == 8, one.trace
    assert "WARNING: checkpoint of step 4 passed over" in one.output


def test_a_damaged_copy_is_passed_over_and_none_that_is_whole_stops(copies: Path, tmp_path: Path) -> None:
    theirs = Path(shutil.copytree(copies, tmp_path / "copies"))
    (theirs / LAST / TOKENIZER).write_bytes(b"x" * len(TOKENIZER_JSON))
    first, second = outcomes(2, _resumed_with_upload, tmp_path / "a", str(theirs))
    assert first.value == second.value == 4, first.trace
    assert "WARNING: the uploaded checkpoint of step 8 is passed over" in first.output
    assert CheckpointStore(tmp_path / "a", 9).steps() == [4]
    (theirs / "step_00000004/state/rank_00001.safetensors").unlink()
    for one in outcomes(2, _resumed_with_upload, tmp_path / "b", str(theirs)):
        assert isinstance(one.error, UserError)
        assert "none of the 2 uploaded checkpoints is whole" in str(one.error)
    assert list((tmp_path / "b").iterdir()) == []


def test_a_copy_without_its_manifest_is_none(copies: Path, tmp_path: Path) -> None:
    theirs = Path(shutil.copytree(copies, tmp_path / "copies"))
    (theirs / LAST / MANIFEST).unlink()
    assert ranks(2, _resumed_with_upload, tmp_path / "a", str(theirs)) == [4, 4]
    assert ranks(2, _resumed_with_upload, tmp_path / "b", str(tmp_path / "nothing")) == [None, None]


def test_too_little_room_for_what_is_restored_is_said(copies: Path, small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb") as handle:
        handle.write(b"x" * (shutil.disk_usage(small_disk).free - 8192))
    for one in outcomes(2, _resumed_with_upload, small_disk / "checkpoints", str(copies)):
        assert isinstance(one.error, UserError), one.trace
        assert "not enough free space for the checkpoint of step 8" in str(one.error)


def _fails_once(folder: Path, url: str, how: str) -> None:
    checkpointer, engine = opened(folder, upload=url)
    original, failed = module.put, []

    def put(source: Path, target: str) -> None:
        if not failed and source.name == f"rank_{engine.world.rank:05d}.safetensors" and engine.world.rank == 1:
            failed.append(target)
            if how == "refused":
                raise UserError("access denied", where=target)
            store.write_bytes(target, b"something else")
            return
        original(source, target)

    module.put = put
    for step in (4, 8):
        small_engine.save(checkpointer, engine, step)
        _wait_for_upload(checkpointer)
    checkpointer.close()


def _wait_for_upload(checkpointer: Checkpointer) -> None:
    """As if the next checkpoint came much later."""
    assert checkpointer._upload is not None
    checkpointer._upload.close()
    checkpointer._upload = module.Upload(
        checkpointer._checkpoints, checkpointer._upload._url, checkpointer._world, checkpointer._say
    )


@pytest.mark.parametrize(
    ("how", "why"), [("refused", "access denied"), ("damaged", r"what arrived is not what the manifest says")]
)
def test_an_upload_that_fails_is_said_and_made_up_for(tmp_path: Path, how: str, why: str) -> None:
    url = f"{tmp_path}/copies"
    first, second = outcomes(2, _fails_once, tmp_path / "checkpoints", url, how)
    assert (first.trace, second.trace) == ("", "")
    (said,) = [line for line in first.output.splitlines() if "WARNING" in line]
    assert said.startswith("WARNING: the checkpoint of step 4 is not uploaded: ")
    assert why in said
    assert said.endswith("it is tried again with the next checkpoint")
    for step in (4, 8):
        folder = tmp_path / "copies" / f"step_{step:08d}"
        CheckpointManifest.load(folder).verify(folder)


def test_a_place_that_cannot_be_used_never_stops_training_but_a_start(tmp_path: Path) -> None:
    (one,) = outcomes(1, _saved_4_and_8, tmp_path / "checkpoints", "nosuch://a/b")
    assert one.value == [4, 8], one.trace
    assert "WARNING: checkpoints are not uploaded: nosuch://" in one.output
    (one,) = outcomes(1, _resumed_with_upload, tmp_path / "empty", "nosuch://a/b")
    assert isinstance(one.error, UserError)


def _slow_upload(folder: Path, url: str) -> list[Any]:
    """Saves go on while the first upload is stuck; what it copies is not dropped meanwhile."""
    import threading

    checkpointer, engine = opened(folder, upload=url, keep_last=1)
    original, go, begun = module.put, threading.Event(), threading.Event()

    def put(source: Path, target: str) -> None:
        begun.set()
        assert go.wait(60)
        original(source, target)

    module.put = put
    small_engine.save(checkpointer, engine, 2)
    assert begun.wait(60)
    for step in (4, 6):
        small_engine.save(checkpointer, engine, step)
    during = CheckpointStore(folder, 9).steps()
    go.set()
    checkpointer.close()
    return [during, sorted(path.name for path in Path(url).iterdir())]


def test_a_slow_upload_holds_no_save_up(tmp_path: Path) -> None:
    (found,) = ranks(1, _slow_upload, tmp_path / "checkpoints", f"{tmp_path}/copies")
    assert found == [[2, 6], ["step_00000006"]]


def test_the_share_of_each_rank_is_its_own() -> None:
    files = {f"{number}": {"sha256": "", "bytes": 1} for number in range(7)}
    shares = []
    for rank in range(3):
        one = object.__new__(module.Upload)
        one._world = type("World", (), {"rank": rank, "size": 3})()  # type: ignore[assignment]
        shares += one._share(manifest(4, files=files))
    assert sorted(shares) == sorted(files)
