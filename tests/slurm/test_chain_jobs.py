"""The whole chain as jobs that wait for each other, by one command that can be repeated."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
import small_chain
from jobs import ROOT, environment, wait_for
from small_chain import CONFIGS

pytestmark = pytest.mark.slow
STEPS = ["data", "track", "demo-pretrain", "demo-pretrain-low-lr", "demo-finetune", "demo-evaluate", "compare"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    slurm_cluster.require()
    folder = tmp_path_factory.mktemp("chain")
    small_chain.write(folder, more='ranks: 1\nslurm: {time: "30", small: {sbatch: {nice: "1"}}}\n')
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm")):
        yield folder


def submit(folder: Path, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, str(ROOT / "launch" / "submit.py"), "chain.yaml", *arguments]
    env = environment(EXECUTOR="local", WORKERS="2")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def status(folder: Path) -> dict[str, list[str]]:
    """Step -> the other columns of the table."""
    lines = submit(folder, "--status").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines[1:-1]}


def queued() -> list[str]:
    """Names of the jobs that Slurm still has to do with."""
    asked = subprocess.run(["squeue", "-h", "-o", "%j"], capture_output=True, text=True, check=True)
    return asked.stdout.split()


@pytest.mark.timeout(1200)
def test_the_chain_fails_goes_on_and_is_complete(folder: Path) -> None:
    lines = submit(folder, "--dry-run")
    assert len(re.findall(r"^  sbatch ", lines, re.MULTILINE)) == len(STEPS)
    assert "--dependency=afterok:demo-pretrain --kill-on-invalid-dep=yes" in lines
    assert not (folder / "runs").exists()
    assert set(map(tuple, status(folder).values())) == {("not", "submitted")}

    # A wrong setting of a late step is found before anything is submitted.
    wrong = f"pretrain=[{{config: {CONFIGS}/pretrain/demo.yaml, set: [model.n_head=7]}}]"
    assert "d_model 160 is not a multiple of n_head 7" in submit(folder, wrong, code=2)
    assert "error: step data: sbatch refuses the job: invalid part" in submit(folder, "slurm.partition=none", code=2)
    assert queued() == []

    printed = submit(folder)
    assert printed.endswith("7 jobs submitted; the same command with --status shows how far they are\n")
    ids = json.loads((folder / "runs" / "slurm" / "jobs.json").read_text())
    assert list(re.findall(r"^(\S+): job (\d+)", printed, re.MULTILINE)) == [(step, ids[step]) for step in STEPS]

    # As after a crash between two jobs: nothing is submitted twice, all are found by their comments.
    (folder / "runs" / "slurm" / "jobs.json").unlink()
    again = submit(folder)
    assert "0 jobs submitted" in again
    assert f"compare: job {ids['compare']} is pending already" in again
    assert json.loads((folder / "runs" / "slurm" / "jobs.json").read_text()) == ids

    # A step is lost: what needs it goes with it, and the next call submits just that anew.
    subprocess.run(["scancel", ids["demo-pretrain"]], check=True)
    wait_for(lambda: set(queued()) <= {"data", "track", "demo-pretrain-low-lr"}, 120)
    table = status(folder)
    assert table["demo-pretrain"][1] == "cancelled"
    assert table["compare"][1] == "cancelled"
    anew = submit(folder)
    assert re.findall(r"^(\S+): job \d+(?: after|$)", anew, re.MULTILINE) == [STEPS[2], *STEPS[4:]]

    wait_for(lambda: queued() == [], 800, lambda: str(status(folder)))
    logs = {path.name: path.read_text()[-1500:] for path in (folder / "runs" / "slurm").glob("*.log")}
    assert {row[1] for row in status(folder).values()} == {"complete"}, logs
    assert status(folder)["demo-pretrain"][-1] == "8/8"
    assert (folder / "runs" / "report.html").exists()
    assert "0 jobs submitted" in submit(folder)
