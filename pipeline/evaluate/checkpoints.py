"""The checkpoints of a run in their order; without torch."""

from __future__ import annotations

from pathlib import Path

from pipeline.checkpoint.store import MANIFEST


def checkpoints_in(folder: str) -> list[str]:
    """The checkpoints directly in a folder, by their steps; none if it is a checkpoint itself, or a model of others."""
    path = Path(folder)
    if (path / MANIFEST).exists() or not path.is_dir():
        return []
    return [str(one) for one in sorted(path.glob("step_*")) if (one / MANIFEST).exists()]
