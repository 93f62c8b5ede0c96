"""The folder of a run: configuration, checkpoints, tracking, and the proof that it is complete.

<run.dir>/<run.name>/{config.yaml, run.json, metrics.jsonl, checkpoints/, result.json}
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel

from data_prep import __version__, store
from data_prep.configfile import config_sha, to_yaml
from data_prep.errors import CorruptFile, UserError, to_write_in

RESULT = "result.json"
CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
_LOCK = ".lock"
_LOCK_WAIT_SECONDS = 10.0


class RunFolder:
    """One run's folder.

    Args:
        path: where it is; made when it is locked.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / CHECKPOINTS

    def lock(self) -> None:
        """Claim the folder for this process until it ends, threads that still write a checkpoint included.

        Ranks of a run that was just killed need a moment to go; hence the wait.

        Raises:
            UserError: another process writes this run, or the folder cannot be written.
        """
        with to_write_in(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / _LOCK).open("a+")
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    handle.seek(0)
                    owner = handle.read().strip() or "?"
                    raise UserError(
                        f"process {owner} is writing this run",
                        where=str(self.path),
                        fix="wait for it, stop it, or choose another run.name",
                    ) from None
                time.sleep(0.2)
        handle.truncate(0)
        handle.write(f"{os.getpid()} on {socket.gethostname()}")
        handle.flush()
        self._lock = handle

    @contextmanager
    def unclaimed(self) -> Iterator[bool]:
        """Whether no process writes this run any more; if so, none begins to while the block lasts.

        A folder that no process ever claimed gives False: nothing is known of it.
        """
        try:
            handle = (self.path / _LOCK).open("r+")
        except FileNotFoundError:
            yield False
            return
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def write_config(self, config: BaseModel) -> None:
        """Store the resolved configuration."""
        store.write_bytes(str(self.path / CONFIG), to_yaml(config).encode())

    def write_result(self, config: BaseModel, made_from: str, result: dict[str, Any]) -> None:
        """Record that the run is complete; written last.

        Args:
            config: the run's configuration.
            made_from: digest of what it read (dataset, checkpoint).
            result: final metrics and where things are.
        """
        body = {"config_sha": config_sha(config), "made_from": made_from, "code": __version__, **result}
        store.write_json(str(self.path / RESULT), body)

    def result(self, config: BaseModel, made_from: str) -> dict[str, Any] | None:
        """The result of a complete run with this very configuration and input, or None."""
        path = self.path / RESULT
        if not path.exists():
            return None
        try:
            body: dict[str, Any] = store.read_json(str(path))
        except CorruptFile:
            return None
        wanted = {"config_sha": config_sha(config), "made_from": made_from, "code": __version__}
        return body if all(body.get(key) == value for key, value in wanted.items()) else None
