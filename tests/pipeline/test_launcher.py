import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from pipeline.launcher import OWNER_PID, free_port, port_is_free


def test_ports() -> None:
    port = free_port()
    assert port_is_free(port)
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        assert not port_is_free(port)
        assert free_port() != port


_RANK = """
import os, sys, time
sys.path.insert(0, {root!r})
from pipeline.launcher import end_with_launcher
end_with_launcher()
print(os.getpid(), flush=True)
time.sleep(60)
"""


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_rank_ends_when_the_process_that_owns_it_is_gone(tmp_path: Path) -> None:
    owner = subprocess.Popen(["sleep", "60"])
    script = tmp_path / "rank.py"
    script.write_text(_RANK.format(root=str(Path(__file__).parents[2])))
    rank = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env={**os.environ, OWNER_PID: str(owner.pid)},
    )
    assert rank.stdout is not None
    assert int(rank.stdout.readline()) == rank.pid
    time.sleep(1)
    assert rank.poll() is None
    owner.kill()
    owner.wait()
    assert rank.wait(60) == 1


def test_a_rank_ends_when_its_launcher_is_killed(tmp_path: Path) -> None:
    script, launcher = tmp_path / "rank.py", tmp_path / "torchrun"
    script.write_text(_RANK.format(root=str(Path(__file__).parents[2])))
    launcher.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, {str(script)!r}])\n")
    parent = subprocess.Popen([sys.executable, str(launcher)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(1)
    assert _alive(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(pid)
