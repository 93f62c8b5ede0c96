"""One run at a time under a root: two would write the same files.

On a file system `run.lock` carries an flock(2), which ends with its process, however that ends; what the file says
(process, host, command) is for the message only. Over NFS that holds among all hosts (Linux >= 2.6.12); a file system
without locks gives no protection.

An object store has no locks: there the file is a marker that its owner renews, and one that has not been renewed for
`STALE_SECONDS`, or whose process is gone from this host, counts for nothing. Two runs that start in the same second may
both go on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from data_prep import store
from data_prep.errors import CorruptFile, UserError, to_write_in

FILE = "run.lock"
STALE_SECONDS = 180.0
_RENEW_SECONDS = 30.0
_ATTEMPTS, _PAUSE_SECONDS = 5, 0.05
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextlib.contextmanager
def held(root: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a root while the block runs.

    Args:
        root: the folder; made if it is not there, with those above it, and removed again where empty at the end.
        shared: let others in that share it, too (single tasks of an array), but no run.

    Raises:
        UserError: someone else holds it (names process and host), or the folder cannot be written.
    """
    if store.is_local(root):
        with _flocked(store.local(root), shared):
            yield
    elif shared:
        # Tasks of an array are many, the marker is one: they only respect it.
        _refuse_if_marked(root)
        yield
    else:
        with _marked(root):
            yield


def holder(root: str) -> dict[str, Any] | None:
    """{"pid", "host", "command", ...} of the run that holds the lock now, or None."""
    path = store.join(root, FILE)
    try:
        if not store.is_local(root):
            return _live_mark(path)
        with store.local(path).open("rb") as handle:
            if _try_lock(handle, fcntl.LOCK_SH):
                return None
            return _said(handle)
    except FileNotFoundError:
        return None


def _me() -> dict[str, Any]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "time": time.time()}


def _refusal(other: dict[str, Any], path: str) -> UserError:
    who = f"process {other.get('pid', '?')} on {other.get('host', '?')} ({other.get('command') or 'unknown'})"
    return UserError(f"{who} works here", where=path, fix="wait until it ends, or stop it, then run again")


@contextlib.contextmanager
def _flocked(root: Path, shared: bool) -> Iterator[None]:
    path, attempts = root / FILE, 0
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    while True:
        with to_write_in(str(root)):
            root.mkdir(parents=True, exist_ok=True)
            handle = path.open("a+b")
        if not _try_lock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            other = _said(handle)
            handle.close()
            attempts += 1
            if attempts == _ATTEMPTS:
                raise _refusal(other, str(path))
            time.sleep(_PAUSE_SECONDS)  # `holder` locks it for a moment
        elif _is_still(handle, path):
            break
        else:
            handle.close()  # the holder before removed the file between opening and locking
    with handle:
        handle.truncate(0)
        handle.write(orjson.dumps(_me()))
        handle.flush()
        try:
            yield
        finally:
            if not shared:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty
                    for folder in made:
                        folder.rmdir()


def _try_lock(handle: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
    return True


def _is_still(handle: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _said(handle: IO[bytes]) -> dict[str, Any]:
    handle.seek(0)
    try:
        return dict(orjson.loads(handle.read()))
    except (orjson.JSONDecodeError, TypeError, ValueError):
        return {}  # its owner is just writing it


@contextlib.contextmanager
def _marked(root: str) -> Iterator[None]:
    path = store.join(root, FILE)
    _refuse_if_marked(root)
    store.write_json(path, _me())
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(_RENEW_SECONDS):
            with contextlib.suppress(OSError, UserError):
                store.write_json(path, _me())

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(OSError, UserError):
            store.remove_file(path)


def _refuse_if_marked(root: str) -> None:
    path = store.join(root, FILE)
    other = _live_mark(path)
    if other is not None:
        raise _refusal(other, path)


def _live_mark(path: str) -> dict[str, Any] | None:
    try:
        other = store.read_json(path)
        renewed, pid, host = float(other["time"]), int(other["pid"]), other["host"]
    except (FileNotFoundError, CorruptFile, KeyError, TypeError, ValueError):
        return None
    gone = host == socket.gethostname() and not is_alive(pid)
    return None if gone or time.time() - renewed > STALE_SECONDS else dict(other)


def is_alive(pid: int) -> bool:
    """Whether a process of this host exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
