"""SIGKILL at every step that a save takes on the file system: what is found afterwards is whole.

Ranks are forked from a process that has imported everything; a save counts what the interpreter reports to audit hooks
(opening, renaming, removing, ...), flushes to the disk, and the writing of the state, which is also cut in half.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from harness import ranks
from ports import free_port
from small_engine import opened, save, saved

from pipeline.checkpoint import checkpointer as module
from pipeline.checkpoint.store import LATEST, CheckpointStore, open_checkpoint

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}


class Steps:
    """Counts steps on the file system below a folder, and kills this process before one of them.

    Args:
        folder: where.
        survive: number of the step; negative for never.
    """

    def __init__(self, folder: Path, survive: int) -> None:
        self.folder, self.survive, self.count = str(folder), survive, 0
        self.on = True
        sys.addaudithook(self._audit)
        fsync, write_state = os.fsync, module.write_state

        def counted(handle: int) -> None:
            self.step()
            fsync(handle)

        def cut(path: Path, *args: Any) -> None:
            self.step()
            write_state(path, *args)
            if self.count == self.survive:
                os.truncate(path, path.stat().st_size // 2)
            self.step()

        os.fsync, module.write_state = counted, cut

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        # Removing a tree names entries relative to an open folder.
        if event in EVENTS and (str(args[0]).startswith(self.folder) or event in ("os.remove", "os.rmdir")):
            self.step()

    def step(self) -> None:
        if self.on:
            if self.count == self.survive:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1


def _fork(size: int, work: Callable[[int], int]) -> list[int]:
    """Exit codes of ranks that each do `work(rank)`; negative for signals."""
    port, children = str(free_port()), []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_PORT=port)
            try:
                os._exit(work(rank))
            except BaseException:
                traceback.print_exc()
                os._exit(101)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _kills(template: Path, base: Path, size: int, victim: int, stride: int) -> int:
    """Kill one rank before every (stride-th) step of saving 12, each on a copy of its own; returns how many."""
    for number in count():
        folder = base / str(number)
        shutil.copytree(template, folder, symlinks=True)

        def killed(rank: int, folder: Path = folder, survive: int = stride * number) -> int:
            checkpointer, engine = opened(folder)
            steps = Steps(folder, survive if rank == victim else -1)
            save(checkpointer, engine, 12)
            steps.on = False
            return 0

        codes = _fork(size, killed)
        if codes == [0] * size:
            return number
        assert codes[victim] == -signal.SIGKILL, (number, codes)
    raise AssertionError


def _resumes(base: Path, kills: int) -> list[int]:
    """What a resume finds after each kill; then the save succeeds."""
    found = []
    for number in range(kills):
        folder = base / str(number)
        checkpointer, engine = opened(folder)
        at = checkpointer.resume()
        assert at is not None
        checkpointer.load(*at)
        assert engine.is_at(at[1].cursor.step)
        open_checkpoint(str(folder / LATEST))
        save(checkpointer, engine, 12)
        assert CheckpointStore(folder, 9).steps() == [8, 12], number
        assert not list(folder.glob("*.tmp")), number
        found.append(at[1].cursor.step)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "victim", "stride", "least"), [(1, 0, 1, 35), (2, 0, 3, 12), (2, 1, 1, 4)], ids=["alone", "0", "1"]
)
def test_sigkill_before_any_step_of_a_save(tmp_path: Path, size: int, victim: int, stride: int, least: int) -> None:
    template, base = tmp_path / "template", tmp_path / "killed"
    assert ranks(size, saved, template, 4, 8) == [[4, 8]] * size
    (kills,) = ranks(1, _kills, template, base, size, victim, stride)
    assert kills >= least
    assert CheckpointStore(base / str(kills), 9).steps() == [8, 12]  # the one that was not killed
    found = ranks(size, _resumes, base, kills)[0]
    assert found == sorted(found), "what was durable stays so"
    assert set(found) == ({8, 12} if victim == 0 else {8})
