"""Paths on any fsspec file system, written so that a reader never sees a half-written file.

A local file is written as `x.tmp`, flushed to the disk, then renamed to `x`. On an object store an upload
becomes visible only when it is closed, which gives the same promise.
"""

from __future__ import annotations

import glob
import hashlib
import io
import os
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
import orjson

from data_prep.errors import CorruptFile, full_disk

TMP_SUFFIX = ".tmp"
_HASH_BLOCK = 1 << 20


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of `path` and the path as that file system spells it."""
    fs, inner = fsspec.core.url_to_fs(path)
    return fs, inner


def is_local(path: str) -> bool:
    """Whether `path` lies on this machine's file system."""
    return "://" not in path or path.startswith("file://")


def local(path: str) -> Path:
    """`path` as a `pathlib.Path`; only for local paths."""
    return Path(path.removeprefix("file://"))


def join(root: str, *parts: str) -> str:
    """Join with forward slashes, for local paths and URLs alike."""
    return posixpath.join(root, *parts)


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(path):
        return local(path).exists()
    fs, inner = filesystem(path)
    return bool(fs.exists(inner))


def listing(pattern: str) -> list[str]:
    """Files that match a glob pattern, sorted; a plain path matches itself if it is there.

    A folder stands for all files directly in it.
    """
    if is_local(pattern):
        # Paths stay as the user wrote them (fsspec would make them absolute), so that manifests can move.
        plain = str(local(pattern))
        if local(plain).exists():
            plain = glob.escape(plain)
        found = glob.glob(f"{plain}/*" if local(pattern).is_dir() else plain, recursive=True)  # noqa: PTH207
        return sorted(p for p in found if local(p).is_file() and not p.endswith(TMP_SUFFIX))
    fs, inner = filesystem(pattern)
    if fs.isdir(inner):
        inner = posixpath.join(inner, "*")
    prefix = pattern.split("://", 1)[0] + "://"
    paths = [p for p in fs.glob(inner) if fs.isfile(p)]
    return sorted(prefix + p.lstrip("/") for p in paths if not p.endswith(TMP_SUFFIX))


def size(path: str) -> int:
    """Length of a file in bytes."""
    fs, inner = filesystem(path)
    return int(fs.size(inner))


def open_read(path: str) -> IO[bytes]:
    """Open for reading bytes."""
    if is_local(path):
        return local(path).open("rb")
    fs, inner = filesystem(path)
    handle: IO[bytes] = fs.open(inner, "rb")
    return handle


def read_bytes(path: str) -> bytes:
    """The whole file."""
    with open_read(path) as handle:
        return handle.read()


def read_json(path: str) -> Any:
    """Parse a JSON file.

    Raises:
        CorruptFile: the bytes are not JSON.
    """
    try:
        return orjson.loads(read_bytes(path))
    except orjson.JSONDecodeError as error:
        raise CorruptFile(
            f"not valid JSON ({error})", where=path, fix="delete the file to have it made again"
        ) from None


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys: equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON-able value, independent of key order."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of(path: str) -> str:
    """sha256 (hex) of a file's bytes, read in blocks."""
    value = hashlib.sha256()
    with open_read(path) as handle:
        while block := handle.read(_HASH_BLOCK):
            value.update(block)
    return value.hexdigest()


def fsync_dir(folder: Path) -> None:
    """Make renames inside a local folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create(path: Path) -> IO[bytes]:
    """A new local file, never the one of that name that another process may still have open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path.open("xb")


@contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` only if the block ends without an error.

    Raises:
        UserError: the disk is full.
    """
    if not is_local(path):
        buffer = io.BytesIO()
        yield buffer
        fs, inner = filesystem(path)
        fs.makedirs(posixpath.dirname(inner), exist_ok=True)
        fs.pipe_file(inner, buffer.getvalue())
        return
    target = local(path)
    tmp = target.with_name(target.name + TMP_SUFFIX)
    try:
        with create(tmp) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        tmp.replace(target)
        fsync_dir(target.parent)
    except BaseException as error:
        tmp.unlink(missing_ok=True)
        clear = full_disk(error, path) if isinstance(error, OSError) else None
        if clear is not None:
            raise clear from None
        raise


def write_bytes(path: str, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_write(path) as handle:
        handle.write(data)


def write_json(path: str, value: Any) -> None:
    """Write indented JSON with sorted keys, atomically."""
    write_bytes(path, orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n")


def clear(folder: str, keep: str) -> None:
    """Remove everything in a folder but the file `keep`, which thus tells until the end what the rest was."""
    if is_local(folder):
        entries = [str(entry) for entry in local(folder).iterdir()]
    else:
        fs, inner = filesystem(folder)
        prefix = folder.split("://", 1)[0] + "://"
        entries = [prefix + entry.lstrip("/") for entry in fs.ls(inner, detail=False)]
    for entry in entries:
        if posixpath.basename(entry) != keep:
            remove(entry)


def remove(path: str) -> None:
    """Remove a file or a whole folder, if it is there."""
    if is_local(path):
        target = local(path)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        return
    fs, inner = filesystem(path)
    if fs.exists(inner):
        fs.rm(inner, recursive=True)
