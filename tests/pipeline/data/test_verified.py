from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_model import write_dataset

from data_prep.errors import CorruptFile
from data_prep.shards import DatasetManifest
from pipeline.data.sources import open_data
from pipeline.data.verified import verify


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were hashed."""
    folders: list[str] = []
    original = DatasetManifest.verify

    def counted(self: DatasetManifest, folder: str) -> None:
        folders.append(folder)
        original(self, folder)

    monkeypatch.setattr(DatasetManifest, "verify", counted)
    return folders


def test_what_was_verified_is_not_hashed_again(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "data", train=6, validation=2)
    said: list[str] = []
    for _ in range(3):
        verify(open_data(str(tmp_path / "data")), tmp_path / "cache", said.append)
    assert len(hashed) == 1
    assert said == ["small: verified before and unchanged since"] * 2
    # By another path it is the same dataset.
    monkeypatch.chdir(tmp_path)
    verify(open_data("data"), tmp_path / "cache", said.append)
    assert len(hashed) == 1


@pytest.mark.parametrize("keep_mtime", [False, True])
def test_a_changed_byte_is_found(tmp_path: Path, hashed: list[str], keep_mtime: bool) -> None:
    write_dataset(tmp_path / "data", train=6, validation=2)
    data = open_data(str(tmp_path / "data"))
    verify(data, tmp_path / "cache", print)
    shard = tmp_path / "data" / "train-1.arrow"
    before = shard.stat()
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(content)
    if keep_mtime:
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptFile, match=r"train-1\.arrow"):
        verify(data, tmp_path / "cache", print)
    with pytest.raises(CorruptFile, match=r"train-1\.arrow"):  # a failure is not remembered as a success
        verify(data, tmp_path / "cache", print)
    assert len(hashed) == 3


def test_another_manifest_or_a_lost_file_is_hashed(tmp_path: Path, hashed: list[str]) -> None:
    write_dataset(tmp_path / "data", train=6, validation=2)
    verify(open_data(str(tmp_path / "data")), tmp_path / "cache", print)
    write_dataset(tmp_path / "data", train=6, validation=2, seed=1)
    verify(open_data(str(tmp_path / "data")), tmp_path / "cache", print)
    assert len(hashed) == 2
    (tmp_path / "data" / "train-0.arrow").unlink()
    with pytest.raises(CorruptFile, match="missing"):
        verify(open_data(str(tmp_path / "data")), tmp_path / "cache", print)


def test_notes_that_cannot_be_kept_cost_only_time(tmp_path: Path, hashed: list[str]) -> None:
    write_dataset(tmp_path / "data", train=6, validation=2)
    (tmp_path / "file").write_text("")
    for _ in range(2):
        verify(open_data(str(tmp_path / "data")), tmp_path / "file" / "cache", print)
    assert len(hashed) == 2
    verify(open_data(str(tmp_path / "data")), tmp_path / "cache", print)
    (note,) = (tmp_path / "cache").iterdir()
    note.write_text("{torn")
    verify(open_data(str(tmp_path / "data")), tmp_path / "cache", print)
    assert len(hashed) == 4
