"""Datasets whose checksums were verified once, so that the next start need not hash them again.

`<run.dir>/.verified/<hash of the folder>.json` holds the digest of the manifest and, for each file, its size, inode and
times of change. As long as none of them changed, no byte did: the system sets the time of the last status change
(ctime) at every write, and lets nobody set it back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from data_prep import store
from data_prep.errors import CorruptFile
from data_prep.shards import TOKENIZER
from pipeline.data.sources import Source, TrainingData

State = dict[str, list[int]]
FOLDER = ".verified"
"""Of the notes, beside the run folders."""


def verify(data: TrainingData, notes: Path, say: Callable[[str], None]) -> None:
    """Hash every file of every dataset that was not verified yet or changed since.

    Args:
        data: the datasets.
        notes: folder of what was verified.
        say: prints a line.

    Raises:
        CorruptFile: a file is missing, cut short or changed.
    """
    for source in data.sources:
        note = notes / f"{hashlib.sha256(os.path.abspath(source.folder).encode()).hexdigest()}.json"  # noqa: PTH100
        before = _state(source)
        known = {"manifest": source.manifest.digest, "files": before}
        if before is not None and _read(note) == known:
            say(f"{source.name}: verified before and unchanged since")
            continue
        source.manifest.verify(source.folder)
        # A file that was written to while it was hashed has another state by now, and is hashed again next time.
        if before is not None:
            with suppress(OSError):  # a folder that cannot be written to costs the time of hashing, not the run
                note.parent.mkdir(parents=True, exist_ok=True)
                store.write_json(str(note), known)


def _state(source: Source) -> State | None:
    """File -> [bytes, inode, mtime, ctime] (ns), or None where there are no such facts: not local, or not there."""
    if not store.is_local(source.folder):
        return None
    names = [TOKENIZER, *(info.path for split in source.manifest.splits.values() for info in split.shards)]
    try:
        facts = {name: Path(store.join(source.folder, name)).stat() for name in names}
    except OSError:
        return None
    return {name: [s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns] for name, s in facts.items()}


def _read(note: Path) -> object:
    if not note.is_file():
        return None
    with suppress(CorruptFile, OSError):
        return store.read_json(str(note))
    return None
