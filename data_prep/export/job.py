"""One export from start to end: checks the dataset, writes the files, then `export.json`, the proof that it is whole.

An export that was cut short is made anew; one that is complete is verified and left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.export import megatron, modded_nanogpt, nanogpt
from data_prep.export.target import Target
from data_prep.manifest import FileRef
from data_prep.progress import ProgressBar
from data_prep.shards import DatasetManifest, TokenSplit

Write = Callable[[DatasetManifest, dict[str, TokenSplit], Target], None]
FORMATS: Mapping[str, Write] = {
    "megatron": megatron.write,
    "nanogpt": nanogpt.write,
    "modded-nanogpt": modded_nanogpt.write,
}
_SIXTEEN_BITS = ("nanogpt", "modded-nanogpt")
RECORD = "export.json"


def export(dataset: str, format: str, folder: str) -> tuple[list[FileRef], bool]:
    """Write a token dataset in another format.

    Args:
        dataset: its folder; every shard is hashed before anything is written.
        format: one of `FORMATS`.
        folder: where to; empty, or with an export of the same dataset in the same format.

    Returns:
        The files, paths relative to `folder`, and whether they were there already.

    Raises:
        UserError: the dataset cannot be used or does not fit the format, or the folder holds something else.
        CorruptFile: the dataset is damaged.
    """
    manifest = DatasetManifest.load(dataset)
    wanted = {"format": format, "dataset": manifest.digest}
    record = store.join(folder, RECORD)
    found = _record(record)
    if found is None and store.listing(folder):
        raise UserError("the folder is not empty", where=folder, fix="give --output a new folder")
    if found is not None and {key: found.get(key) for key in wanted} != wanted:
        raise UserError(
            f"the folder holds another export ({found.get('format')}, dataset {str(found.get('dataset'))[:12]}...)",
            where=folder,
            fix="give --output a new folder",
        )
    if found is not None and (files := _complete(found, folder)):
        return files, True
    if format in _SIXTEEN_BITS and manifest.vocab_size > 1 << 16:
        raise UserError(
            f"a vocabulary of {manifest.vocab_size:,} ids does not fit into the 16 bits of {format}",
            where=dataset,
            fix="export it with --format megatron",
        )
    manifest.verify(dataset)
    splits = {name: TokenSplit(dataset, manifest, name) for name in manifest.splits}
    with ProgressBar(
        f"export {format}", sum(shard.tokens.nbytes for split in splits.values() for shard in split.shards), "bytes"
    ) as bar:
        store.write_json(record, {**wanted, "files": []})
        target = Target(folder, bar)
        FORMATS[format](manifest, splits, target)
    store.write_json(record, {**wanted, "files": [asdict(ref) for ref in target.files]})
    return target.files, False


def _record(path: str) -> dict[str, Any] | None:
    if not store.exists(path):
        return None
    found = store.read_json(path)
    if not isinstance(found, dict):
        raise CorruptFile("not the record of an export", where=path, fix="delete its folder")
    return found


def _complete(record: Mapping[str, Any], folder: str) -> list[FileRef]:
    """The files of an export if it is whole and unchanged, else none."""
    try:
        files = [FileRef(**ref) for ref in record["files"]]
    except (KeyError, TypeError) as error:
        raise CorruptFile(
            f"not the record of an export ({error!r})", where=store.join(folder, RECORD), fix="delete its folder"
        ) from None
    return files if all(ref.under(folder).is_intact() for ref in files) else []
