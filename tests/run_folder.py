"""What tests read from the folder of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import torch

from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import open_checkpoint


def metrics(run: Path) -> list[tuple[int, int, dict[str, Any]]]:
    """(step, consumed, metrics without speed) of every line of metrics.jsonl."""
    found = []
    for line in (run / "metrics.jsonl").read_bytes().splitlines():
        row = orjson.loads(line)
        values = {name: value for name, value in row["metrics"].items() if not name.startswith("perf/")}
        found.append((row["step"], row["tokens"], values))
    return found


def losses(run: Path) -> list[float]:
    return [values["train/loss"] for _, _, values in metrics(run) if "train/loss" in values]


def checkpoint_weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(*open_checkpoint(str(folder)))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint_weights(run / "checkpoints" / "latest")


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit the same metrics and weights."""
    assert metrics(one) == metrics(other)
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


_HOLDER = """
import sys, time
sys.path.insert(0, {root!r})
from pipeline.runs import RunFolder
from pipeline.tracking import RunInfo, Tracker
folder = RunFolder({path!r})
folder.lock()
{then}
print("locked", flush=True)
time.sleep({seconds})
"""


def hold(run: Path, seconds: float = 120.0, then: str = "") -> subprocess.Popen[bytes]:
    """A process that holds a run's lock for so long, once it has it and has done something as its owner."""
    code = _HOLDER.format(root=str(Path(__file__).parents[1]), path=str(run), seconds=seconds, then=then)
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    return holder
