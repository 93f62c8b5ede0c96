"""Paths on any fsspec file system, written so that a reader never sees a half-written file.

A local file is written as `x.tmp`, flushed to the disk, then renamed to `x`. On an object store an upload
becomes visible only when it is closed, which gives the same promise. What other processes write is seen at once:
nothing is answered from a cache of listings. Where a store's client looks for endpoint and credentials is its own
affair (for `s3://`: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ... or `~/.aws`).

orjson is imported where JSON is read or written: a training step needs none (tests/benchmarks/gpu_step.py).
"""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import fsspec

from data_prep.errors import CorruptFile, UserError, full_disk

TMP_SUFFIX = ".tmp"
_HASH_BLOCK = 1 << 20
_IN_MEMORY = 16 << 20
_WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"}
_CLIENTS = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure", "adlfs"}


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of `path` and the path as that file system spells it.

    Raises:
        UserError: there is no such kind of file system, or its package is not installed.
    """
    try:
        fs, inner = fsspec.core.url_to_fs(path, use_listings_cache=False)
    except ImportError as error:
        raise UserError(f"{error}", where=path, fix="for s3: `pip install -e '.[s3]'`") from None
    except ValueError as error:
        raise UserError(f"{error}", where=path, fix="check the path") from None
    return fs, inner


def client_modules(path: str) -> list[str]:
    """Modules that every process which uses the file system of `path` will import."""
    return [] if is_local(path) else [type(filesystem(path)[0]).__module__]


@contextmanager
def _clear_errors(path: str) -> Iterator[None]:
    """One clear line for what an object store or its client refuses."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"access denied ({error})", where=path, fix="check credentials and rights") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        raise UserError(
            f"the object store cannot be used ({type(error).__name__}: {error})",
            where=path,
            fix="check endpoint and credentials, then run again",
        ) from None


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
    with _clear_errors(path):
        return bool(fs.exists(inner))


def listing(pattern: str, endings: tuple[str, ...] = ()) -> list[str]:
    """Files that match a glob pattern, sorted; a plain path matches itself if it is there.

    A folder stands for all files directly in it or, with `endings`, for all below it whose names end so.
    """
    if is_local(pattern):
        # Paths stay as the user wrote them (fsspec would make them absolute), so that manifests can move.
        plain = str(local(pattern))
        if local(plain).exists():
            plain = glob.escape(plain)
        if local(pattern).is_dir():
            plain = f"{plain}/**/*" if endings else f"{plain}/*"
        else:
            endings = ()
        names = glob.glob(plain, recursive=True)  # noqa: PTH207
        return sorted(
            p
            for p in names
            if local(p).is_file() and not p.endswith(TMP_SUFFIX) and (p.endswith(endings) or not endings)
        )
    fs, inner = filesystem(pattern)
    prefix = pattern.split("://", 1)[0] + "://"
    with _clear_errors(pattern):
        if fs.isdir(inner):
            inner = posixpath.join(inner, "**" if endings else "*")
        else:
            endings = ()
        try:
            found = fs.glob(inner, detail=True)
        except FileNotFoundError:  # a folder that was removed just now
            return []
        files = [p for p, info in found.items() if info["type"] == "file"]
        paths = [p for p in files if p.endswith(endings) or not endings]
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
    with _clear_errors(path):
        handle: IO[bytes] = fs.open(inner, "rb")
    return handle


def read_bytes(path: str) -> bytes:
    """The whole file."""
    if is_local(path):
        return local(path).read_bytes()
    fs, inner = filesystem(path)
    with _clear_errors(path):
        data: bytes = fs.cat_file(inner)  # one request; opening it would take two
    return data


def read_json(path: str) -> Any:
    """Parse a JSON file.

    Raises:
        CorruptFile: the bytes are not JSON.
    """
    import orjson

    try:
        return orjson.loads(read_bytes(path))
    except orjson.JSONDecodeError as error:
        raise CorruptFile(
            f"not valid JSON ({error})", where=path, fix="delete the file to have it made again"
        ) from None


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys: equal values give equal bytes."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON-able value, independent of key order."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of(path: str, on_read: Callable[[int], None] | None = None) -> str:
    """sha256 (hex) of a file's bytes, read in blocks; `on_read` is told the bytes of each."""
    value = hashlib.sha256()
    with open_read(path) as handle:
        while block := handle.read(_HASH_BLOCK):
            value.update(block)
            if on_read is not None:
                on_read(len(block))
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
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as buffer:
            yield cast(IO[bytes], buffer)
            buffer.seek(0)
            upload(cast(IO[bytes], buffer), path)
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


def upload(source: IO[bytes], path: str) -> None:
    """Write what a file holds, from where it stands, to a path that is not local; all of it or nothing.

    Raises:
        UserError: the store refuses it.
    """
    fs, inner = filesystem(path)
    with _clear_errors(path):
        if path.split("://", 1)[0] not in _WITHOUT_FOLDERS:
            fs.makedirs(posixpath.dirname(inner), exist_ok=True)
        try:
            handle = fs.open(inner, "wb")
            try:
                shutil.copyfileobj(source, handle, _HASH_BLOCK)
            except BaseException:
                handle.discard()  # closing it would make the part that arrived a file
                handle.closed = True
                raise
            handle.close()
        except FileNotFoundError as error:
            raise UserError(f"cannot be written ({error})", where=path, fix="make the bucket first") from None


def write_bytes(path: str, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_write(path) as handle:
        handle.write(data)


def write_json(path: str, value: Any) -> None:
    """Write indented JSON with sorted keys, atomically."""
    import orjson

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


def remove_file(path: str) -> None:
    """Remove a file, if it is there: one request to an object store, where `remove` takes several."""
    if is_local(path):
        local(path).unlink(missing_ok=True)
        return
    fs, inner = filesystem(path)
    with _clear_errors(path), suppress(FileNotFoundError):
        fs.rm_file(inner)


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
