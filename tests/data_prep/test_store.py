import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import store
from data_prep.errors import CorruptFile, UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def memory() -> str:
    return f"memory://{uuid.uuid4().hex}"


def test_a_file_appears_only_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x"
    with store.atomic_write(str(path)) as handle:
        handle.write(b"abc")
        handle.flush()
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert names(path.parent) == ["x"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    store.write_bytes(str(path), b"old")
    with pytest.raises(ZeroDivisionError), store.atomic_write(str(path)) as handle:
        handle.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    store.write_bytes(str(path), b"old")
    program = (
        "import sys, time; from data_prep import store\n"
        "with store.atomic_write(sys.argv[1]) as handle:\n"
        "    handle.write(b'new' * 100_000); handle.flush(); print('half', flush=True); time.sleep(60)\n"
    )
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"half\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert path.read_bytes() == b"old"
    assert store.listing(str(tmp_path)) == [str(path)]
    store.write_bytes(str(path), b"newer")
    assert names(tmp_path) == ["x"]


def test_a_process_that_still_writes_does_not_spoil_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with (tmp_path / "x.tmp").open("wb") as stale:
        stale.write(b"?" * 100)
        stale.flush()
        with store.atomic_write(str(path)) as handle:
            handle.write(b"abc")
            stale.write(b"?" * 100)
            stale.flush()
    assert path.read_bytes() == b"abc"


def test_full_disk_is_one_clear_line(small_disk: Path) -> None:
    path = small_disk / "x"
    with pytest.raises(UserError, match=f"^{path}: no space left on the device .*free some space"):
        store.write_bytes(str(path), b"x" * (2 << 20))
    assert names(small_disk) == []


def test_object_stores_show_whole_files_only(memory: str) -> None:
    path = f"{memory}/a/x"
    with pytest.raises(ZeroDivisionError), store.atomic_write(path) as handle:
        handle.write(b"half")
        raise ZeroDivisionError
    assert not store.exists(path)
    store.write_json(path, {"b": 1, "a": [2]})
    assert store.read_json(path) == {"a": [2], "b": 1}
    assert store.size(path) == len(store.read_bytes(path))
    assert store.listing(f"{memory}/a") == [path]
    store.remove(memory)
    assert not store.exists(path)


def test_clear_keeps_one_file(tmp_path: Path, memory: str) -> None:
    for root in (str(tmp_path), memory):
        for name in ("keep", "a", "b/c"):
            store.write_bytes(store.join(root, name), b"")
        store.clear(root, keep="keep")
        assert store.listing(f"{root}/**") == [f"{root}/keep"]


def test_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RS_2.zst", "RS_1.zst", "RS_3.zst.tmp", "deep/RS_4.zst", "odd [x] *?/RS_[5].zst"):
        store.write_bytes(str(tmp_path / name), b"")
    root = str(tmp_path)
    assert store.listing(f"{root}/RS_*") == [f"{root}/RS_1.zst", f"{root}/RS_2.zst"]
    assert store.listing(root) == [f"{root}/RS_1.zst", f"{root}/RS_2.zst"]
    assert store.listing(f"{root}/**/RS_4*") == [f"{root}/deep/RS_4.zst"]
    assert store.listing(f"{root}/RS_1.zst") == [f"{root}/RS_1.zst"]
    assert store.listing(f"{root}/nothing*") == []
    odd = f"{root}/odd [x] *?"
    assert store.listing(odd) == store.listing(f"{odd}/RS_[5].zst") == [f"{odd}/RS_[5].zst"]
    monkeypatch.chdir(tmp_path / "deep")
    assert store.listing("RS_*") == ["RS_4.zst"]
    assert store.listing("../RS_1*") == ["../RS_1.zst"]


def test_damaged_json_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'{"a": ')
    with pytest.raises(CorruptFile, match=rf"^{path}: not valid JSON"):
        store.read_json(str(path))


@given(st.dictionaries(st.text(), st.integers(-(1 << 53), 1 << 53) | st.text()))
def test_digest_does_not_depend_on_key_order(value: dict[str, object]) -> None:
    assert store.digest(value) == store.digest(dict(reversed(value.items())))


def test_sha256_of_a_file_longer_than_a_block(tmp_path: Path) -> None:
    import hashlib

    data = bytes(range(256)) * (5 << 12)
    store.write_bytes(str(tmp_path / "x"), data)
    assert store.sha256_of(str(tmp_path / "x")) == hashlib.sha256(data).hexdigest()


def test_no_reader_ever_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "x"
    store.write_bytes(str(path), b"0" * 50_000)
    program = (
        "import sys; from data_prep import store\n"
        "print('go', flush=True)\n"
        "for i in range(200): store.write_bytes(sys.argv[1], str(i % 10).encode() * 50_000)\n"
    )
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], env={**os.environ, "PYTHONPATH": root})
    while child.poll() is None:
        seen = path.read_bytes()
        assert len(seen) == 50_000
        assert len(set(seen)) == 1
        time.sleep(0.001)
    assert child.returncode == 0
    assert path.read_bytes() == b"9" * 50_000
