"""Manifests: the only proof that a task, and then a stage, is complete.

A task manifest is written last, after every output file of the task was renamed into place. It holds the digest
of the plan entry it answers (inputs, settings, code version), the counts and the sha256 of every output. Nothing in
it depends on time, host or number of workers, so equal inputs and settings give an equal manifest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from data_prep import store
from data_prep.errors import CorruptFile

FORMAT = 1
STAGE_FILE = "stage.json"


@dataclass(frozen=True)
class FileRef:
    """A file with what identifies its content.

    Attributes:
        path: where it is; inside a manifest, relative to the stage's folder.
        sha256: hex digest of its bytes.
        bytes: its length.
        rows: rows it holds, where that makes sense.
    """

    path: str
    sha256: str
    bytes: int
    rows: int | None = None

    @staticmethod
    def of(path: str, rows: int | None = None) -> FileRef:
        """Hash a file as it is now."""
        return FileRef(path, store.sha256_of(path), store.size(path), rows)

    def under(self, folder: str) -> FileRef:
        """The same file with its path joined to a folder."""
        return FileRef(store.join(folder, self.path), self.sha256, self.bytes, self.rows)

    def is_intact(self) -> bool:
        """Whether the file is there with the recorded bytes."""
        try:
            return store.size(self.path) == self.bytes and store.sha256_of(self.path) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class Totals:
    """Counts of one task or of a whole stage.

    Attributes:
        rows_in: rows (documents, submissions, records) read.
        rows_out: rows written.
        dropped: rows left out, by reason.
        extra: further named counts of the stage (for example bytes of text).
    """

    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def sum(parts: Iterable[Totals]) -> Totals:
        """Add up, keys sorted."""
        rows_in = rows_out = 0
        dropped: dict[str, int] = {}
        extra: dict[str, int] = {}
        for part in parts:
            rows_in, rows_out = rows_in + part.rows_in, rows_out + part.rows_out
            for source, target in ((part.dropped, dropped), (part.extra, extra)):
                for key, value in source.items():
                    target[key] = target.get(key, 0) + value
        return Totals(rows_in, rows_out, dict(sorted(dropped.items())), dict(sorted(extra.items())))


@dataclass(frozen=True)
class TaskManifest:
    """What one task did. `plan` is the digest of the plan entry that it answers."""

    plan: str
    totals: Totals
    outputs: tuple[FileRef, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for the manifest file."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def from_json(data: Any, where: str) -> TaskManifest:
        """Inverse of `to_json`.

        Raises:
            CorruptFile: fields are missing or of the wrong kind.
        """
        try:
            return TaskManifest(data["plan"], Totals(**data["totals"]), _files(data["outputs"]))
        except (KeyError, TypeError) as error:
            raise CorruptFile(f"not a task manifest ({error!r})", where=where, fix="delete it") from None


@dataclass(frozen=True)
class StageManifest:
    """What a whole stage did, and from what.

    Attributes:
        stage: the stage's name.
        code: version of the code that ran.
        settings: the stage's resolved settings.
        upstream: label of each input -> digest of the stage manifest (or of the raw files) it came from.
        totals: sums over the tasks.
        outputs: files of all tasks in task order, paths relative to the stage's folder.
        summary: small results that a reader wants to see (a vocabulary size, a share).
    """

    stage: str
    code: str
    settings: dict[str, Any]
    upstream: dict[str, str]
    totals: Totals
    outputs: tuple[FileRef, ...]
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 (hex) over the whole manifest; through `upstream` it names the complete history."""
        return store.digest(asdict(self))

    def save(self, folder: str) -> None:
        """Write `stage.json` into the stage's folder."""
        store.write_json(store.join(folder, STAGE_FILE), {"format": FORMAT, "digest": self.digest, **asdict(self)})

    def files(self, folder: str, prefix: str = "") -> list[FileRef]:
        """Output files whose name starts with `prefix`, with full paths."""
        return [ref.under(folder) for ref in self.outputs if ref.path.startswith(prefix)]

    @staticmethod
    def load(folder: str) -> StageManifest:
        """Read a stage's manifest.

        Raises:
            CorruptFile: missing fields, or the recorded digest is not that of the content.
            FileNotFoundError: the stage is not complete.
        """
        path = store.join(folder, STAGE_FILE)
        data = store.read_json(path)
        try:
            data.pop("format")
            recorded = data.pop("digest")
            data["totals"] = Totals(**data["totals"])
            data["outputs"] = _files(data["outputs"])
            manifest = StageManifest(**data)
        except (AttributeError, KeyError, TypeError) as error:
            raise CorruptFile(
                f"not a stage manifest ({error!r})", where=path, fix="delete it and run the stage again"
            ) from None
        if manifest.digest != recorded:
            raise CorruptFile(
                "the content does not match its digest", where=path, fix="delete it and run the stage again"
            )
        return manifest


def _files(items: Iterable[dict[str, Any]]) -> tuple[FileRef, ...]:
    return tuple(FileRef(**item) for item in items)
