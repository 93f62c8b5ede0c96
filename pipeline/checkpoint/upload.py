"""Copies of checkpoints at a URL (any fsspec file system), and a run folder restored from them.

    URL/step_00000100/{tokenizer.json, state/rank_00000.safetensors, ..., manifest.json}

Every rank copies its share of the files and reads it back; the manifest comes last, so that a copy is whole or none.
An upload never stops training: what fails is said, and tried again behind the next checkpoint.
"""

from __future__ import annotations

import hashlib
import posixpath
import queue
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from pipeline.checkpoint.disk import FILE_BYTES, check_space, flush, on_disk
from pipeline.checkpoint.retention import retained
from pipeline.checkpoint.store import MANIFEST, CheckpointManifest, CheckpointStore, folder_name
from pipeline.distributed import World, on_main, together

PATIENCE = timedelta(hours=24)
"""How long a rank waits for others that still copy; one that dies is noticed at once."""
_BLOCK = 1 << 20


class Upload:
    """Brings a URL up to date with the checkpoints of a run, on a thread of each rank; collective.

    Args:
        checkpoints: the run's, which also say what is kept there.
        url: folder of this run's copies.
        world: this process among all.
        say: prints a line on rank 0.
    """

    def __init__(self, checkpoints: CheckpointStore, url: str, world: World, say: Callable[[str], None]) -> None:
        self._checkpoints, self._url, self._world, self._say = checkpoints, url, world, say
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="checkpoint-upload", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Begin to copy what is missing there; returns at once. Every rank calls it equally often."""
        self._wanted.put(True)

    def close(self) -> None:
        """Wait for the copies that were begun; nothing can be begun any more."""
        self._wanted.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.get():
            try:
                self._bring_up_to_date()
            except Exception as error:
                self._failed(f"checkpoints are not uploaded: {error}")

    def _failed(self, what: str) -> None:
        self._say(f"WARNING: {what}; it is tried again with the next checkpoint")

    def _bring_up_to_date(self) -> None:
        missing = on_main(self._world, self._missing, self._group)
        for step in missing:
            try:
                self._copy(step)
            except Exception as error:
                self._failed(f"the checkpoint of step {step} is not uploaded: {error}")
        on_main(self._world, lambda: self._checkpoints.pin([]), self._group)
        on_main(self._world, self._drop, self._group)

    def _missing(self) -> list[int]:
        """Steps to copy, the newest first; they are kept here until all are through."""
        there = {step: manifest.digest for step, manifest in self._there().items()}
        steps = self._checkpoints.pin(self._checkpoints.steps())
        missing = [
            step
            for step in reversed(steps)
            if there.get(step) != CheckpointManifest.load(self._checkpoints.path(step)).digest
        ]
        self._checkpoints.pin(missing)
        return missing

    def _copy(self, step: int) -> None:
        folder, target = self._checkpoints.path(step), store.join(self._url, folder_name(step))

        def begin() -> CheckpointManifest:
            store.remove(target)
            return CheckpointManifest.load(folder)

        manifest = on_main(self._world, begin, self._group)

        def share() -> None:
            for name in self._share(manifest):
                path = store.join(target, name)
                put(folder / name, path)
                if store.sha256_of(path) != manifest.files[name]["sha256"]:
                    raise CorruptFile("what arrived is not what the manifest says (sha256 differs)", where=path)

        together(share, self._group)
        on_main(self._world, lambda: put(folder / MANIFEST, store.join(target, MANIFEST)), self._group)
        self._say(f"step {step}  uploaded and verified at {target}")

    def _share(self, manifest: CheckpointManifest) -> list[str]:
        """The files that this rank copies."""
        return sorted(manifest.files)[self._world.rank :: self._world.size]

    def _drop(self) -> None:
        """Remove copies that are not kept, or not whole."""
        newest = self._checkpoints.steps()[-1]
        there = self._there()
        consumed = {step: manifest.cursor.consumed for step, manifest in there.items() if step <= newest}
        steps = retained(consumed, self._checkpoints.keep_last, self._checkpoints.milestone)
        kept = {folder_name(step) for step in (*steps, self._checkpoints.best) if step is not None}
        for name in self._names():
            if name not in kept:
                store.remove(store.join(self._url, name))

    def _names(self) -> set[str]:
        """Folders of checkpoints there, whole or not."""
        found = store.listing(store.join(self._url, "step_*", "**"))
        return {name for path in found for name in path.split("/")[-3:-1] if name.startswith("step_")}

    def _there(self) -> dict[int, CheckpointManifest]:
        """Whole copies by step; a manifest that cannot be read makes none."""
        found = {}
        for path in store.listing(store.join(self._url, "step_*", MANIFEST)):
            try:
                manifest = CheckpointManifest.read(path)
            except UserError:
                continue
            if posixpath.basename(posixpath.dirname(path)) == folder_name(manifest.cursor.step):
                found[manifest.cursor.step] = manifest
        return found

    def restore(self, group: dist.ProcessGroup) -> tuple[Path, CheckpointManifest] | None:
        """Copy the newest good checkpoint there into the run folder; None if there is none at all.

        Args:
            group: of all ranks, not in use by another thread.

        Raises:
            UserError: the URL cannot be read, all copies are damaged, or the disk is full.
        """
        there = on_main(self._world, self._there, group)
        problem = ""
        for step in sorted(there, reverse=True):
            try:
                return self._fetch(there[step], group), there[step]
            except CorruptFile as error:
                problem = problem or str(error)
                self._say(f"WARNING: the uploaded checkpoint of step {step} is passed over: {error}")
        if problem:
            raise UserError(
                f"none of the {len(there)} uploaded checkpoints is whole (newest: {problem})",
                where=self._url,
                fix="remove them to train from the beginning",
            )
        return None

    def _fetch(self, manifest: CheckpointManifest, group: dist.ProcessGroup) -> Path:
        step = manifest.cursor.step
        source = store.join(self._url, folder_name(step))
        self._say(f"restoring the checkpoint of step {step} from {source}")

        def begin() -> Path:
            tmp = self._checkpoints.begin(step)
            needed = manifest.bytes + FILE_BYTES * len(manifest.files)
            check_space(self._checkpoints.folder, needed, f"the checkpoint of step {step}")
            return tmp

        tmp = on_main(self._world, begin, group)

        def share() -> None:
            for name in self._share(manifest):
                get(store.join(source, name), tmp / name, manifest.files[name])

        try:
            together(lambda: on_disk(tmp, share), group)
            return on_main(self._world, lambda: self._checkpoints.commit(tmp, manifest), group)
        except Exception:
            if self._world.is_main:
                shutil.rmtree(tmp, ignore_errors=True)
            raise


def put(source: Path, target: str) -> None:
    """Copy a local file to a path or URL; all of it or nothing."""
    with source.open("rb") as handle:
        if store.is_local(target):
            with store.atomic_write(target) as out:
                shutil.copyfileobj(handle, out, _BLOCK)
        else:
            store.upload(handle, target)


def get(source: str, target: Path, facts: dict[str, Any]) -> None:
    """Copy a file from a path or URL, and flush it to the disk.

    Raises:
        CorruptFile: it is missing, or not what the manifest says.
    """
    value = hashlib.sha256()
    try:
        with store.open_read(source) as handle, target.open("wb") as out:
            while block := handle.read(_BLOCK):
                value.update(block)
                out.write(block)
    except FileNotFoundError:
        raise CorruptFile("a file of the checkpoint is missing", where=source) from None
    if value.hexdigest() != facts["sha256"]:
        raise CorruptFile("the file's bytes do not match the manifest (sha256 differs)", where=source)
    flush(target)
