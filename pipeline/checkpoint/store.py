"""A folder of checkpoints, each whole and verified or not there.

    checkpoints/step_00000100/{manifest.json, tokenizer.json, state/rank_00000.safetensors, ...}
    checkpoints/latest -> step_00000100
    checkpoints/best -> step_00000040       of a run that selects by a validation metric

A checkpoint is written under another name, flushed, hashed into its manifest, then renamed. In `state/` every rank has
written what it alone kept of the fp32 state, under the names and shapes of whole parameters (`pieces.py`), so that any
topology can read it.
"""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from pipeline.checkpoint.retention import retained

FORMAT = 3
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
STATE = "state"
"""Folder of the ranks' files within a checkpoint."""
LATEST, BEST = "latest", "best"
_STEP = re.compile(r"^step_(\d{8})$")


def folder_name(step: int) -> str:
    """Name of the checkpoint of a step."""
    return f"step_{step:08d}"


@dataclass(frozen=True)
class Cursor:
    """Where a run stands.

    Attributes:
        step: optimizer steps done.
        samples: number of the sample that comes next: those before it were consumed, or skipped.
        consumed: what was trained on, in the unit of the schedules: tokens in pretraining, examples in fine-tuning.
        skip: ranges [first, end) of sample numbers that are left out.
    """

    step: int
    samples: int
    consumed: int
    skip: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class CheckpointManifest:
    """What a checkpoint is.

    Attributes:
        cursor: where the run stood.
        kind: what wrote it, "pretrain" or "finetune".
        seed: seed of order, dropout and initial weights; all randomness of a step follows from it and the cursor.
        model: shape of the model, `vocab_size` included.
        data: fingerprint of the training samples.
        topology: of the run that wrote it, for the reader's information; any other can go on from it.
        tokenizer_sha256: digest of the checkpoint's `tokenizer.json`.
        identity: the settings that decide the numbers; a resume must agree with them.
        config_sha: digest of the whole configuration.
        lineage: stage name -> digest, for everything that the weights came from.
        tracking_run: identity of the tracked run.
        state: what the optimizer holds beside tensors, such as Adam's step count; empty if there are weights only.
        files: relative path -> {"sha256", "bytes"}.
    """

    cursor: Cursor
    kind: str
    seed: int
    model: dict[str, Any]
    data: str
    topology: dict[str, Any]
    tokenizer_sha256: str
    identity: dict[str, Any]
    config_sha: str
    lineage: dict[str, str]
    tracking_run: str
    state: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 (hex) over the whole manifest, and through it over every file."""
        return store.digest(asdict(self))

    @property
    def weights_only(self) -> bool:
        """Whether no optimizer state is there, so that training cannot go on from it."""
        return not self.state

    @property
    def bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(int(facts["bytes"]) for facts in self.files.values())

    @staticmethod
    def load(folder: Path) -> CheckpointManifest:
        """Read a checkpoint's manifest.

        Raises:
            UserError: the folder is no checkpoint, or one of another format version.
            CorruptFile: the manifest is damaged.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise UserError(
                f"no checkpoint here ({MANIFEST} is missing)",
                where=str(folder),
                fix="give a folder such as RUN/checkpoints/latest",
            )
        return CheckpointManifest.read(str(path))

    @staticmethod
    def read(path: str) -> CheckpointManifest:
        """Read a manifest from a path or URL; raises as `load`."""
        try:
            data = store.read_json(path)
        except OSError as error:
            raise CorruptFile(f"cannot be read ({error.strerror or error})", where=path) from None
        try:
            version = data.pop("format")
            if version != FORMAT:
                which = "an earlier" if isinstance(version, int) and version < FORMAT else "another"
                raise UserError(
                    f"this checkpoint was written by {which} version of this program (format {version}, not {FORMAT})",
                    where=path,
                    fix="use that version, or choose another run.name for a new run",
                )
            recorded = data.pop("digest")
            cursor = data["cursor"]
            data["cursor"] = Cursor(**{**cursor, "skip": tuple((first, end) for first, end in cursor["skip"])})
            manifest = CheckpointManifest(**data)
            digest = manifest.digest
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"not a checkpoint manifest ({error!r})", where=path) from None
        if digest != recorded:
            raise CorruptFile("the content does not match its digest", where=path)
        return manifest

    def write(self, folder: Path) -> None:
        """Write it into a folder, durably."""
        store.write_json(str(folder / MANIFEST), {"format": FORMAT, "digest": self.digest, **asdict(self)})

    def verify(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Hash every file, or some.

        Raises:
            CorruptFile: a file is missing, cut short or changed.
        """
        for name in self.files if names is None else names:
            check_file(folder / name, self.files[name])


def facts_of(path: Path) -> dict[str, Any]:
    """What the manifest says about a file."""
    return {"sha256": store.sha256_of(str(path)), "bytes": path.stat().st_size}


def check_file(path: Path, facts: Mapping[str, Any]) -> None:
    """Raise `CorruptFile` unless a file is what the manifest says."""
    try:
        if not path.is_file():
            raise CorruptFile("a file of the checkpoint is missing", where=str(path))
        if path.stat().st_size != facts["bytes"]:
            raise CorruptFile(
                f"the file has {path.stat().st_size:,} bytes, the manifest says {facts['bytes']:,}", where=str(path)
            )
        if store.sha256_of(str(path)) != facts["sha256"]:
            raise CorruptFile("the file's bytes do not match the manifest (sha256 differs)", where=str(path))
    except OSError as error:
        raise CorruptFile(f"cannot be read ({error.strerror or error})", where=str(path)) from None


def open_checkpoint(path: str) -> tuple[Path, CheckpointManifest]:
    """Resolve (`latest` is a link) and verify a checkpoint that the user names.

    Raises:
        UserError: it is not there or damaged.
    """
    folder = Path(path).resolve()
    manifest = CheckpointManifest.load(folder)
    manifest.verify(folder)
    return folder, manifest


class CheckpointStore:
    """The checkpoints of one run. All methods are for one process; ranks are coordinated by the caller.

    Args:
        folder: holds the checkpoints.
        keep_last: how many are kept.
        milestone: the first checkpoint at or beyond each multiple of this is kept for ever; in the cursor's unit.
    """

    def __init__(self, folder: Path, keep_last: int, milestone: int | None = None) -> None:
        self.folder, self.keep_last, self.milestone = folder, keep_last, milestone
        self._pinned: set[int] = set()
        self._selected: int | None = None
        self._written: int | None = None
        self._lock = threading.Lock()  # what removes folders, or must find them

    def begin(self, step: int) -> Path:
        """An empty folder to write into, of a name of its own; what killed runs left half-written goes.

        A rank that outlives its killed run cannot know the name, and so never writes into another's checkpoint.
        """
        with self._lock:
            for left in self.folder.glob(f"*{store.TMP_SUFFIX}"):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        tmp = self.folder / f"{folder_name(step)}.{secrets.token_hex(4)}{store.TMP_SUFFIX}"
        (tmp / STATE).mkdir(parents=True)
        return tmp

    def commit(self, tmp: Path, manifest: CheckpointManifest) -> Path:
        """Write the manifest, rename, point `latest` at it (`best` too if it is selected), drop what is not kept.

        Args:
            tmp: folder from `begin`, every file of it flushed to the disk.
            manifest: with the facts of every file.

        Raises:
            UserError: a file that a rank wrote is not here.
        """
        for name, facts in manifest.files.items():
            path = tmp / name
            if not path.is_file() or path.stat().st_size != facts["bytes"]:
                raise UserError(
                    "what a rank wrote does not arrive where rank 0 looks",
                    where=str(path),
                    fix="set run.dir to a file system that all hosts share",
                )
        manifest.write(tmp)
        for folder in (tmp / STATE, tmp):
            store.fsync_dir(folder)
        final = self.path(manifest.cursor.step)
        with self._lock:  # whoever drops must not take what was just renamed for what lies beyond the one before
            self._discard(final)
            tmp.rename(final)
            self.point_at(final)
            if manifest.cursor.step == self._selected:
                self._point(BEST, final)
            self._written = manifest.cursor.step
            self._drop(self._written)
        return final

    def point_at(self, folder: Path) -> bool:
        """Let `latest` be a checkpoint; returns whether it was not before."""
        return self._point(LATEST, folder)

    def _point(self, name: str, folder: Path) -> bool:
        """Let a link be a checkpoint; returns whether it was not before."""
        target = self.folder / name
        if target.is_symlink() and target.readlink() == Path(folder.name):
            store.fsync_dir(self.folder)
            return False
        link = self.folder / (name + store.TMP_SUFFIX)
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        if target.is_dir() and not target.is_symlink():  # a copy that followed the link
            self._discard(target)
        link.replace(target)
        store.fsync_dir(self.folder)
        return True

    def select(self, step: int | None) -> None:
        """Keep the checkpoint of a step as `best`, from when it is written; the one before stays until then.

        Args:
            step: of a checkpoint that is there or is written next; None for none.
        """
        with self._lock:
            self._selected = step
            if step is None:
                (self.folder / BEST).unlink(missing_ok=True)
            elif self.path(step).is_dir():
                self._point(BEST, self.path(step))

    @property
    def best(self) -> int | None:
        """Step of the checkpoint that `best` points at."""
        link = self.folder / BEST
        match = _STEP.match(link.readlink().name) if link.is_symlink() else None
        return int(match.group(1)) if match else None

    def _drop(self, written: int) -> None:
        """Remove what is not kept, and what lies beyond the checkpoint just written: the run went back behind it."""
        consumed = {}
        for step in self.steps():
            if step <= written:
                try:
                    consumed[step] = CheckpointManifest.load(self.path(step)).cursor.consumed
                except UserError:
                    continue
        kept = retained(consumed, self.keep_last, self.milestone) | self._pinned
        kept |= {step for step in (self._selected, self.best) if step is not None and step <= written}
        for step in self.steps():
            if step not in kept:
                self._discard(self.path(step))

    def _discard(self, folder: Path) -> None:
        """Remove a checkpoint: at once for whoever looks for checkpoints, then file by file."""
        if folder.exists():
            gone = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{store.TMP_SUFFIX}")
            folder.rename(gone)
            shutil.rmtree(gone)

    def pin(self, steps: Iterable[int]) -> list[int]:
        """Keep these checkpoints, and only these, from being dropped; returns those of them that are there.

        Those that were kept by an earlier call alone are dropped now.
        """
        with self._lock:
            self._pinned = set(steps) & set(self.steps())
            if self._written is not None:
                self._drop(self._written)
            return sorted(self._pinned)

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.folder / folder_name(step)

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_STEP.match(entry.name) for entry in self.folder.iterdir() if entry.is_dir())
        return sorted(int(match.group(1)) for match in found if match)
