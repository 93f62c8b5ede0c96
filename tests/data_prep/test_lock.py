"""One run at a time under a root; `test_object_store.py` has the marker on S3."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from data_prep import lock
from data_prep.errors import UserError

HOLDER = """
import sys
from data_prep import lock
with lock.held(sys.argv[1], shared=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(root: Path, *shared: str) -> subprocess.Popen[str]:
    """Another process that has the lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), *shared], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def test_a_second_run_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    root = tmp_path / "deep/root"
    child = hold(root)
    expected = rf"^{root}/run.lock: process {child.pid} on {socket.gethostname()} \(-c .*\) works here; wait until"
    with pytest.raises(UserError, match=expected), lock.held(str(root)):
        pass
    with pytest.raises(UserError, match="works here"), lock.held(str(root), shared=True):
        pass
    assert (lock.holder(str(root)) or {})["pid"] == child.pid
    with child:
        pass
    assert lock.holder(str(root)) is None
    assert not root.exists()  # it made it, and left nothing


def test_the_lock_of_a_killed_run_counts_for_nothing(tmp_path: Path) -> None:
    child = hold(tmp_path)
    child.kill()
    with child:
        pass
    assert (tmp_path / lock.FILE).exists()
    assert lock.holder(str(tmp_path)) is None
    with lock.held(str(tmp_path)):
        assert (lock.holder(str(tmp_path)) or {})["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_single_tasks_share_it(tmp_path: Path) -> None:
    with hold(tmp_path, "shared") as child:
        with lock.held(str(tmp_path), shared=True):
            pass
        with pytest.raises(UserError, match=f"process [0-9]+ on {socket.gethostname()}"), lock.held(str(tmp_path)):
            pass
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
        with lock.held(str(tmp_path)):
            pass


def test_an_object_store_has_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    with lock.held(root), pytest.raises(UserError, match="works here"), lock.held(root, shared=True):
        pass
    with lock.held(root, shared=True):
        assert lock.holder(root) is None
    assert lock.holder(root) is None


def test_a_root_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/root: no folder to write in"), lock.held(str(tmp_path / "file" / "root")):
        pass
