"""The batch scripts as text: shellcheck, and whether they explain what can be set."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("given", "words", "line"),
    [
        ({}, [], "no config: sbatch slurm/pretrain.sbatch CONFIG [KEY=VALUE]..."),
        (
            {},
            ["c.yaml", "--nodes=2"],
            "--nodes=2 stands behind the script: sbatch --nodes=2 slurm/",
        ),
        ({"TASKS": "gpu"}, ["c.yaml"], "TASKS=gpu: give rank or node"),
        ({"MAX_FAILURES": "many"}, ["c.yaml"], "MAX_FAILURES=many: give a number"),
        (
            {"PYTHON": "/usr/bin/python4"},
            ["c.yaml"],
            "/usr/bin/python4: No such file or directory; make install, or",
        ),
        ({"CONTAINER": "nowhere exec"}, ["c.yaml"], "nowhere: command not found; make install, or mend"),
        ({"CONTAINER": "false"}, ["c.yaml"], "exit code 1; make install, or mend"),
        ({"WEBTEXT_HOME": "/tmp"}, ["c.yaml"], "/tmp is not the checkout; submit from it, or set WEBTEXT_HOME"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict | list) else "",
)
def test_a_wrong_start_is_one_line_and_is_not_requeued(given: dict[str, str], words: list[str], line: str) -> None:
    """Before any command of Slurm is called: there is none on this path."""
    env = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "1", "WEBTEXT_HOME": str(SLURM.parent), "PYTHON": sys.executable}
    command = ["bash", str(SLURM / "pretrain.sbatch"), *words]
    done = subprocess.run(command, env=env | given, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert line in done.stderr


def test_a_python_without_the_packages_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "1", "WEBTEXT_HOME": str(SLURM.parent), "PYTHON": str(python)}
    for script, package in (("evaluate", "deepspeed"), ("data_prep", "datatrove")):
        command = ["bash", str(SLURM / f"{script}.sbatch"), "c.yaml"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        expected = f"error: {socket.gethostname()}: {python}: no package {package}; make install, or mend PYTHON, SETUP"
        assert (done.returncode, done.stderr) == (2, f"{expected}, CONTAINER\n")
