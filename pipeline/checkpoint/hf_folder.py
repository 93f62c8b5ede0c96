"""The files of a Hugging Face model in a folder, and digests of models, theirs and ours; without torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.tokenizer.published import files as vocabulary_files
from pipeline.checkpoint.store import MANIFEST, CheckpointManifest

CONFIG, MODEL, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model of theirs and not a checkpoint of ours."""
    return (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file()


def weight_files(folder: Path) -> list[str]:
    """Names of the files of the weights.

    Raises:
        UserError: there are none, or one of them is missing.
        CorruptFile: the list of them is damaged.
    """
    if (folder / MODEL).is_file():
        return [MODEL]
    if not (folder / INDEX).is_file():
        raise UserError(
            f"no weights here ({MODEL} is missing)", where=str(folder), fix="give a folder saved as safetensors"
        )
    index = store.read_json(str(folder / INDEX))
    try:
        names = sorted(set(index["weight_map"].values()))
    except (AttributeError, KeyError, TypeError):
        raise CorruptFile("not an index of weights", where=str(folder / INDEX), fix="get it again") from None
    for name in names:
        if not (folder / name).is_file():
            raise UserError("a file of the weights is missing", where=str(folder / name), fix="get the files again")
    return names


def weights_digest(folder: Path) -> str:
    """sha256 (hex) over the files of the weights.

    Raises:
        UserError: a file is missing.
    """
    return store.digest(_hashes(folder, weight_files(folder)))


def model_digest(path: str) -> str:
    """sha256 (hex) of all that decides a model's numbers: of a checkpoint of ours, or of a folder of theirs.

    Raises:
        UserError: neither is there, or a file of it is missing.
    """
    folder = Path(path).resolve()
    if not is_model(folder):
        return CheckpointManifest.load(folder).digest
    vocabulary = [Path(path).name for path in vocabulary_files(str(folder))]
    return store.digest(_hashes(folder, [CONFIG, *weight_files(folder), *vocabulary]))


def _hashes(folder: Path, names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        about = (folder / name).stat()
        found[name] = _sha256_of(folder / name, about.st_ino, about.st_size, about.st_mtime_ns)
    return found


@cache
def _sha256_of(path: Path, *version: int) -> str:
    """Of a large file once in a process, as long as it is the same."""
    return store.sha256_of(str(path))
