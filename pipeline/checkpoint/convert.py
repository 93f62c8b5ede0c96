"""A checkpoint on its own: what it is, whether it is whole, and one with the weights only."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.checkpoint.disk import check_space, flush, new_folder, on_disk
from pipeline.checkpoint.pieces import HostState, state_file, whole_weights, write_state
from pipeline.checkpoint.reader import StateReader, read_weights
from pipeline.checkpoint.store import (
    MANIFEST,
    TOKENIZER,
    CheckpointManifest,
    CheckpointStore,
    facts_of,
    open_checkpoint,
)

WEIGHT_BYTES = 4


def describe(checkpoint: str) -> str:
    """What a checkpoint is, from its manifest alone; no file is read or hashed.

    Raises:
        UserError: there is none, or its manifest is damaged.
    """
    folder = Path(checkpoint).resolve()
    manifest = CheckpointManifest.load(folder)
    cursor = manifest.cursor
    unit = "tokens" if manifest.kind == "pretrain" else "examples"
    skipped = ", ".join(f"[{first:,}, {end:,})" for first, end in cursor.skip)
    rows = {
        "checkpoint": str(folder),
        "digest": manifest.digest,
        "written by": f"{manifest.kind}{f', run {manifest.tracking_run}' if manifest.tracking_run else ''}",
        "step": f"{cursor.step:,}",
        unit: f"{cursor.consumed:,}",
        "next sample": f"{cursor.samples:,}{f', left out {skipped}' if skipped else ''}",
        "holds": "weights only, fp32"
        if manifest.weights_only
        else "weights and AdamW's two moments, fp32: a run can go on from it under any topology",
        "topology": _listed(manifest.topology) or "-",
        "model": _listed(manifest.model),
        "seed": str(manifest.seed),
        "data": manifest.data or "-",
        "tokenizer": manifest.tokenizer_sha256,
        "config": manifest.config_sha,
        **{f"made from {name}": digest for name, digest in sorted(manifest.lineage.items())},
    }
    files = {**{name: facts["bytes"] for name, facts in sorted(manifest.files.items())}}
    files[MANIFEST] = (folder / MANIFEST).stat().st_size
    width = max(map(len, (*rows, *files)))
    lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
    lines += [f"{name:<{width}}  {size:>18,} bytes" for name, size in files.items()]
    lines.append(f"{f'{len(files):,} files':<{width}}  {sum(files.values()):>18,} bytes")
    return "\n".join(lines)


def _listed(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def verify(checkpoint: str) -> tuple[Path, CheckpointManifest]:
    """Hash every file, several at once, and see that the ranks' pieces make whole parameters.

    Raises:
        UserError: there is no checkpoint, or a file of it is missing or damaged; names the file.
    """
    folder = Path(checkpoint).resolve()
    manifest = CheckpointManifest.load(folder)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda name: manifest.verify(folder, [name]), sorted(manifest.files)):
            pass
    StateReader(folder, manifest)
    return folder, manifest


def weights_only(checkpoint: str, out: str) -> Path:
    """Write a checkpoint with the weights only, a third of the size, as one file; for release.

    Evaluation, fine-tuning and export read it as any other; training cannot go on from it. A change of topology needs
    no conversion at all.

    Args:
        checkpoint: folder of the checkpoint (or `latest`).
        out: folder to make; it must not exist or be empty.

    Returns:
        The checkpoint, `out/step_N`; `out/latest` points at it.

    Raises:
        UserError: the checkpoint is damaged, or the disk full.
    """
    target = new_folder(out)
    folder, manifest = open_checkpoint(checkpoint)
    weights = whole_weights(read_weights(folder, manifest))
    state = HostState(weights.pieces, {}, torch.empty(0))
    target.mkdir(parents=True, exist_ok=True)
    checkpoints = CheckpointStore(target, keep_last=1)
    tmp = checkpoints.begin(manifest.cursor.step)

    def write() -> Path:
        check_space(tmp, sum(piece.numel for piece, _ in state.pieces) * WEIGHT_BYTES, "the weights")
        write_state(tmp / state_file(0), state)
        shutil.copyfile(folder / TOKENIZER, tmp / TOKENIZER)
        names = (state_file(0), TOKENIZER)
        for name in names:
            flush(tmp / name)
        made = replace(
            manifest,
            topology={},
            state={},
            lineage={**manifest.lineage, "converted": manifest.digest},
            files={name: facts_of(tmp / name) for name in names},
        )
        return checkpoints.commit(tmp, made)

    try:
        return on_disk(tmp, write)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
