"""A folder of checkpoints, each whole and verified or not there.

    checkpoints/step_00000100/{manifest.json, weights.safetensors, tokenizer.json, native/...}
    checkpoints/latest -> step_00000100

A checkpoint is written as `step_N.tmp`, flushed, hashed into its manifest, then renamed. `weights.safetensors` is the
canonical form (parameter name -> full fp32 tensor), which any topology can read; `native/` holds the engine's shards.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep import store
from data_prep.errors import CorruptFile, UserError

FORMAT = 2
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.json"
NATIVE = "native"
LATEST = "latest"
_STEP = re.compile(r"^step_(\d{8})$")


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
        topology: `world_size`, `zero_stage`, `precision`: what the native shards fit.
        tokenizer_sha256: digest of the checkpoint's `tokenizer.json`.
        identity: the settings that decide the numbers; a resume must agree with them.
        config_sha: digest of the whole configuration.
        lineage: stage name -> digest, for everything that the weights came from.
        tracking_run: identity of the tracked run.
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
    files: dict[str, dict[str, Any]]

    @property
    def digest(self) -> str:
        """sha256 (hex) over the whole manifest, and through it over every file."""
        return store.digest(asdict(self))

    @staticmethod
    def load(folder: Path) -> CheckpointManifest:
        """Read a checkpoint's manifest.

        Raises:
            UserError: the folder is no checkpoint.
            CorruptFile: the manifest is damaged.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise UserError(
                f"no checkpoint here ({MANIFEST} is missing)",
                where=str(folder),
                fix="give a folder such as RUN/checkpoints/latest",
            )
        data = store.read_json(str(path))
        try:
            if data.pop("format") != FORMAT:
                raise UserError("this checkpoint has another format version", where=str(path))
            recorded = data.pop("digest")
            cursor = data["cursor"]
            data["cursor"] = Cursor(**{**cursor, "skip": tuple((first, end) for first, end in cursor["skip"])})
            manifest = CheckpointManifest(**data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"not a checkpoint manifest ({error!r})", where=str(path)) from None
        if manifest.digest != recorded:
            raise CorruptFile("the content does not match its digest", where=str(path))
        return manifest

    def verify(self, folder: Path) -> None:
        """Hash every file.

        Raises:
            CorruptFile: a file is missing, cut short or changed.
        """
        for name, facts in self.files.items():
            path = folder / name
            if not path.is_file():
                raise CorruptFile("a file of the checkpoint is missing", where=str(path))
            if path.stat().st_size != facts["bytes"]:
                raise CorruptFile(
                    f"the file has {path.stat().st_size:,} bytes, the manifest says {facts['bytes']:,}",
                    where=str(path),
                )
            if store.sha256_of(str(path)) != facts["sha256"]:
                raise CorruptFile("the file's bytes do not match the manifest (sha256 differs)", where=str(path))


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
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last

    def begin(self, step: int) -> Path:
        """An empty `step_N.tmp` folder to write into; what killed runs left half-written goes."""
        for left in self.folder.glob(f"step_*{store.TMP_SUFFIX}"):
            shutil.rmtree(left)
        tmp = self.folder / f"step_{step:08d}{store.TMP_SUFFIX}"
        (tmp / NATIVE).mkdir(parents=True)
        return tmp

    def commit(self, tmp: Path, describe: Callable[[dict[str, dict[str, Any]]], CheckpointManifest]) -> Path:
        """Hash, write the manifest, rename, point `latest` at it, drop what is too old.

        Args:
            tmp: folder from `begin`, every file of it flushed to the disk.
            describe: files -> manifest.
        """
        names = sorted(str(p.relative_to(tmp)) for p in tmp.rglob("*") if p.is_file())
        files = {n: {"sha256": store.sha256_of(str(tmp / n)), "bytes": (tmp / n).stat().st_size} for n in names}
        manifest = describe(files)
        store.write_json(str(tmp / MANIFEST), {"format": FORMAT, "digest": manifest.digest, **asdict(manifest)})
        for folder in {tmp, *(p for p in tmp.rglob("*") if p.is_dir())}:
            store.fsync_dir(folder)
        final = tmp.with_name(tmp.name.removesuffix(store.TMP_SUFFIX))
        shutil.rmtree(final, ignore_errors=True)
        tmp.rename(final)
        link = self.folder / (LATEST + store.TMP_SUFFIX)
        link.unlink(missing_ok=True)
        link.symlink_to(final.name)
        link.replace(self.folder / LATEST)
        store.fsync_dir(self.folder)
        written = manifest.cursor.step
        kept = [step for step in self.steps() if step <= written][-self.keep_last :]
        for step in self.steps():
            if step not in kept:  # too old, or a damaged later one that the run went back behind
                shutil.rmtree(self.path(step))
        return final

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.folder / f"step_{step:08d}"

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_STEP.match(entry.name) for entry in self.folder.iterdir() if entry.is_dir())
        return sorted(int(match.group(1)) for match in found if match)

    def newest_good(self, say: Callable[[str], None]) -> tuple[Path, CheckpointManifest] | None:
        """The newest checkpoint whose every byte is right, or None if there is no checkpoint at all.

        Damaged ones are passed over, and said.

        Raises:
            UserError: there are checkpoints, but none is whole. A run never restarts silently.
        """
        steps = self.steps()
        problems = []
        for step in reversed(steps):
            folder = self.path(step)
            try:
                manifest = CheckpointManifest.load(folder)
                manifest.verify(folder)
            except UserError as error:
                problems.append(str(error))
                say(f"WARNING: checkpoint of step {step} passed over: {error}")
                continue
            return folder, manifest
        if problems:
            raise UserError(
                f"none of the {len(steps)} checkpoints can be loaded (newest: {problems[0]})",
                where=str(self.folder),
                fix="restore one from a copy, or remove the folder to train from the beginning",
            )
        return None


def flush_files(folder: Path) -> None:
    """fsync every file below a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
