"""Jobs through the shipped batch scripts on the private cluster, as a user submits and watches them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    """What a user's shell gives to sbatch."""
    ours = {"WEBTEXT_HOME": str(ROOT), "PYTHON": sys.executable, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **ours, "OMP_WAIT_POLICY": "PASSIVE", **more}


def wait_for(condition: Callable[[], bool], seconds: float, what: Callable[[], str] = lambda: "waited in vain") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


@dataclass(frozen=True)
class BatchJob:
    """A submitted job.

    Attributes:
        id: Slurm's.
        log: what it prints.
    """

    id: str
    log: Path

    def said(self, pattern: str) -> int:
        """How many lines match so far."""
        text = self.log.read_text() if self.log.exists() else ""
        return len(re.findall(pattern, text, re.MULTILINE))

    def wait_until_said(self, pattern: str, times: int = 1, seconds: float = 240) -> None:
        wait_for(lambda: self.said(pattern) >= times, seconds, self.describe)

    def facts(self) -> dict[str, str]:
        """What `scontrol show job` says."""
        shown = subprocess.run(["scontrol", "show", "job", "-o", self.id], capture_output=True, text=True, check=True)
        return dict(word.split("=", 1) for word in shown.stdout.split() if "=" in word)

    def describe(self) -> str:
        return f"{self.facts()}\n{self.log.read_text()[-6000:] if self.log.exists() else 'no log'}"

    def end(self, seconds: float = 300) -> tuple[str, str]:
        """(state, exit code of the batch script) when Slurm has done with it."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_for(lambda: self.facts()["JobState"] in over, seconds, self.describe)
        facts = self.facts()
        return facts["JobState"], facts["ExitCode"].partition(":")[0]

    def ranks(self, script: str = "pretrain") -> dict[int, psutil.Process]:
        """Its ranks by number, of the cluster that SLURM_CONF names."""
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if f"launch/{script}.py" not in " ".join(words) or "python" not in Path(words[0]).name:
                continue
            try:
                env = process.environ()
            except psutil.Error:
                continue
            if (env.get("SLURM_JOB_ID"), env.get("SLURM_CONF")) == (self.id, os.environ["SLURM_CONF"]):
                found[int(env.get("RANK", env["SLURM_PROCID"]))] = process
        return found


def sbatch(script: str, *arguments: str, options: list[str], cwd: Path, **env: str) -> BatchJob:
    """Submit a shipped batch script."""
    command = ["sbatch", "--parsable", *options, str(ROOT / "slurm" / f"{script}.sbatch"), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    return BatchJob(job, cwd / f"{script.replace('_', '-')}-{job}.log")


def update(job: BatchJob, setting: str) -> None:
    subprocess.run(["scontrol", "update", f"JobId={job.id}", setting], check=True)
