"""Starting the commands of launch/ as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ports import free_port
from pydantic import BaseModel

from data_prep.configfile import to_yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def launcher(kind: str, ranks: int = 2) -> list[str]:
    """The words before the script: "python", "torchrun", "deepspeed" or "srun", all but the first with `ranks` ranks.

    "srun" starts one task on each of so many nodes.
    """
    if kind == "deepspeed":
        deepspeed = [sys.executable, str(BIN / "deepspeed"), "--num_accelerators", str(ranks)]
        return [*deepspeed, "--master_port", str(free_port())]
    if kind == "torchrun":
        torchrun = [sys.executable, "-m", "torch.distributed.run"]
        return [*torchrun, "--nproc_per_node", str(ranks), "--master_port", str(free_port())]
    if kind == "srun":
        return ["srun", f"--nodes={ranks}", "--ntasks-per-node=1", sys.executable]
    return [sys.executable]


def environment() -> dict[str, str]:
    hidden = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "MLFLOW_TRACKING_URI")
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return {**kept, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}


def command(kind: str, script: str, *arguments: str, ranks: int = 2) -> list[str]:
    return [*launcher(kind, ranks), str(ROOT / "launch" / f"{script}.py"), *arguments]


def run(
    kind: str, script: str, *arguments: str, cwd: Path, timeout: float = 120, ranks: int = 2
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(kind, script, *arguments, ranks=ranks),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def config_file(path: Path, settings: BaseModel) -> str:
    path.write_text(to_yaml(settings))
    return str(path)
