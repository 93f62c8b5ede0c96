"""The batch scripts as text: shellcheck, and whether they explain what can be set."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import hosts
import pytest

SLURM = Path(__file__).parents[2] / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
COMMON = {"SETUP", "PYTHON", "WEBTEXT_HOME"}
TRAINING = COMMON | {"TASKS", "IFNAME", "MASTER_ADDR", "MASTER_PORT", "NODE_DIR", "CONTAINER", "MAX_FAILURES"}
KNOBS = {
    "pretrain": TRAINING,
    "finetune": TRAINING,
    "evaluate": TRAINING - {"TASKS", "IFNAME", "MASTER_ADDR", "MASTER_PORT"},
    "data_prep": COMMON | {"EXECUTOR", "WORKERS"},
}


def test_shellcheck_has_nothing_to_say() -> None:
    hosts.require("shellcheck")
    files = [str(path) for path in (*SCRIPTS, *SLURM.glob("*.sh"))]
    assert len(files) == 6
    done = subprocess.run(["shellcheck", "-x", *files], cwd=SLURM.parent, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_script_explains_its_knobs(script: Path) -> None:
    head = script.read_text().split("ROOT=")[0]
    explained = {
        name
        for line in re.findall(r"^#   ([A-Z].*)$", head, re.MULTILINE)
        for name in KNOBS["pretrain"] | KNOBS["data_prep"]
        if re.search(rf"\b{name}\b", line[:30])
    }
    assert explained == KNOBS[script.stem]
    assert f"slurm/{script.name}" in head  # an example
    for option in ("--requeue", "--open-mode=append", "--signal=B:USR1@"):
        assert f"#SBATCH {option}" in head


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_outside_of_a_job_it_says_how_it_is_meant(script: Path) -> None:
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", str(script), "c.yaml"], cwd=SLURM.parent, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"error: this is a batch script; submit it: sbatch slurm/{script.name} CONFIG [KEY=VALUE]...\n"
    )
