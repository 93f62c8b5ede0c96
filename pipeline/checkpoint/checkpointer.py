"""Saving beside the training, and going on from the newest checkpoint that is whole; by all ranks together.

A save copies each rank's state to memory of its own; that alone stalls training. A thread of each rank then writes and
hashes its file. The threads agree over a process group of theirs, never the training's, and rank 0 makes the whole
visible by a rename.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from data_prep import store
from data_prep.errors import UserError
from pipeline.checkpoint.disk import FILE_BYTES, check_space, flush, on_disk
from pipeline.checkpoint.pieces import HostState, copy_to_host, state_file, write_state
from pipeline.checkpoint.reader import StateReader
from pipeline.checkpoint.store import LATEST, STATE, TOKENIZER, CheckpointManifest, CheckpointStore, facts_of
from pipeline.checkpoint.upload import Upload
from pipeline.config.train import CheckpointConfig
from pipeline.distributed import World, on_main, together
from pipeline.train.engine import Engine

PATIENCE = timedelta(hours=2)
"""How long a rank waits for others that still write or read; one that dies is noticed at once."""
_NAMES = 1 << 10
"""Bytes that a piece may take in the header of its file."""


@dataclass(frozen=True)
class _Save:
    """A save whose state is copied."""

    tmp: Path
    host: HostState
    manifest: CheckpointManifest
    tokenizer: bytes
    stalled: float
    start: float


class Checkpointer:
    """The checkpoints of a run that all ranks write and read; every rank holds one.

    Args:
        checkpoints: where they are, and which are kept.
        engine: holds the state.
        world: this process among all.
        config: settings.
        say: prints a line on rank 0.
        upload: folder of this run's copies, a path or URL.
    """

    def __init__(
        self,
        checkpoints: CheckpointStore,
        engine: Engine,
        world: World,
        config: CheckpointConfig,
        say: Callable[[str], None],
        upload: str | None = None,
    ) -> None:
        self._checkpoints, self._engine, self._world, self._say = checkpoints, engine, world, say
        self._background = config.background
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._upload = Upload(checkpoints, upload, world, say) if upload is not None else None
        self._host: HostState | None = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._finished: list[tuple[Path, CheckpointManifest]] = []

    def save(self, manifest: CheckpointManifest, tokenizer: bytes) -> float:
        """Copy the state and begin to write the checkpoint of `manifest.cursor.step`; collective.

        An earlier one that is still being written is waited for.

        Args:
            manifest: what it will be, without `state` and `files`.
            tokenizer: content of the tokenizer.json that the model's ids refer to.

        Returns:
            Seconds for which the training stood still.

        Raises:
            UserError: there is too little room on the disk, now or for the earlier one; on every rank. The checkpoints
                that are there stay.
        """
        start = time.monotonic()
        if self._thread is not None and self._thread.is_alive():
            self._say(f"step {manifest.cursor.step}  waits for the checkpoint before, which is still being written")
        self.wait()
        self._error = None
        state = together(self._engine.local_state, self._group)
        mine = sum(_NAMES + sum(tensor.nbytes for tensor in kinds.values()) for _, kinds in state.pieces) + FILE_BYTES
        sizes: list[int] = [0] * self._world.size
        dist.all_gather_object(sizes, mine, group=self._group)
        needed = sum(sizes) + len(tokenizer)
        tmp = on_main(self._world, lambda: self._begin(manifest.cursor.step, needed), self._group)
        self._host = together(lambda: copy_to_host(state, self._host), self._group)
        now = time.monotonic()
        manifest = replace(manifest, state=self._host.scalars)
        task = _Save(tmp, self._host, manifest, tokenizer, now - start, now)
        self._thread = threading.Thread(target=self._run, args=(task,), name="checkpoint-writer", daemon=True)
        self._thread.start()
        if not self._background:
            self.wait()
        return time.monotonic() - start

    def error(self) -> Exception | None:
        """What kept the last save from becoming durable, if it is known here already; never waits."""
        return self._error

    def finished(self) -> list[tuple[Path, CheckpointManifest]]:
        """Checkpoints that became durable since the last call, on rank 0; never waits."""
        done: list[tuple[Path, CheckpointManifest]] = []
        while self._finished:
            done.append(self._finished.pop(0))
        return done

    def wait(self) -> None:
        """Wait until the last save is durable; collective.

        Raises:
            UserError: it failed for want of room.
            RuntimeError: a rank was lost, or failed otherwise.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            together(self._raise_error, self._group)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Wait for what was begun, uploads too; each rank for itself, and without raising."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._upload is not None:
            self._upload.close()
            self._upload = None

    def _begin(self, step: int, needed: int) -> Path:
        tmp = on_disk(self._checkpoints.folder, lambda: self._checkpoints.begin(step))
        try:
            check_space(self._checkpoints.folder, needed, f"the checkpoint of step {step}")
        except UserError:
            shutil.rmtree(tmp)
            raise
        return tmp

    def _run(self, task: _Save) -> None:
        """The thread of a save."""
        try:
            self._write(task)
        except Exception as error:
            self._error = error
            if self._world.is_main:
                shutil.rmtree(task.tmp, ignore_errors=True)
            return
        if self._upload is not None:
            self._upload.start()

    def _write(self, task: _Save) -> None:
        mine = together(lambda: on_disk(task.tmp, lambda: self._write_own(task)), self._group)
        parts: list[dict[str, dict[str, Any]]] = [{} for _ in range(self._world.size)]
        dist.all_gather_object(parts, mine, group=self._group)
        files = {name: facts for part in parts for name, facts in part.items()}
        manifest = replace(task.manifest, files=files)

        def commit() -> None:
            folder = on_disk(task.tmp, lambda: self._checkpoints.commit(task.tmp, manifest))
            self._finished.append((folder, manifest))
            self._say(
                f"step {manifest.cursor.step}  checkpoint {folder} ({manifest.bytes / 1e6:,.1f} MB; training stood "
                f"{task.stalled:.3f} s, written in {time.monotonic() - task.start:.1f} s)"
            )

        on_main(self._world, commit, self._group)

    def _write_own(self, task: _Save) -> dict[str, dict[str, Any]]:
        """Write this rank's files, durably; returns their facts."""
        names = [state_file(self._world.rank)]
        write_state(task.tmp / names[0], task.host)
        if self._world.is_main:
            names.append(TOKENIZER)
            (task.tmp / TOKENIZER).write_bytes(task.tokenizer)
        for name in names:
            flush(task.tmp / name)
        store.fsync_dir(task.tmp / STATE)
        return {name: facts_of(task.tmp / name) for name in names}

    def resume(self) -> tuple[Path, CheckpointManifest] | None:
        """The newest checkpoint whose every byte is right, or None if there is none at all; collective.

        Every rank hashes its share of the files. Damaged checkpoints are passed over, and said. Where the run folder
        has none that is whole, the uploaded ones are looked at.

        Raises:
            UserError: there are checkpoints, but none is whole. A run never restarts silently.
        """
        self.wait()
        steps = on_main(self._world, self._checkpoints.steps, self._group)
        problems = []
        for step in reversed(steps):
            folder = self._checkpoints.path(step)
            try:
                manifest = self._verified(folder)
            except UserError as error:
                problems.append(str(error))
                self._say(f"WARNING: checkpoint of step {step} passed over: {error}")
                continue
            self._mend_latest(folder)
            return folder, manifest
        restored = self._upload.restore(self._group) if self._upload is not None else None
        if restored is None and problems:
            raise UserError(
                f"none of the {len(steps)} checkpoints can be loaded (newest: {problems[0]})",
                where=str(self._checkpoints.folder),
                fix="restore one from a copy, or remove the folder to train from the beginning",
            )
        return restored

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending; for rank 0."""
        return self._checkpoints.steps()

    def select(self, step: int | None) -> None:
        """Keep the checkpoint of a step as `best`; see `CheckpointStore.select`."""
        if self._world.is_main:
            self._checkpoints.select(step)

    def load_step(self, step: int) -> None:
        """Put the state of the checkpoint of a step into the engine; collective.

        Raises:
            UserError: it is not there, or damaged.
        """
        self.wait()
        folder = self._checkpoints.path(step)
        self.load(folder, self._verified(folder))

    def _mend_latest(self, folder: Path) -> None:
        if on_main(self._world, lambda: self._checkpoints.point_at(folder), self._group):
            self._say(f"{self._checkpoints.folder / LATEST} now points at {folder.name}")

    def _verified(self, folder: Path) -> CheckpointManifest:
        """The manifest of a checkpoint, all of whose files are right; collective."""
        manifest = on_main(self._world, lambda: CheckpointManifest.load(folder), self._group)
        names = sorted(manifest.files)[self._world.rank :: self._world.size]
        together(lambda: manifest.verify(folder, names), self._group)
        return manifest

    def load(self, folder: Path, manifest: CheckpointManifest) -> None:
        """Put the state of a verified checkpoint into the engine; collective.

        Raises:
            UserError: it holds weights only.
            CorruptFile: its files do not make the whole state.
        """
        if manifest.weights_only:
            raise UserError(
                "this checkpoint holds weights only: training cannot go on from it",
                where=str(folder),
                fix="use it for evaluation or as init.checkpoint of fine-tuning",
            )
        self.wait()
        together(lambda: self._engine.load_state(StateReader(folder, manifest)), self._group)
