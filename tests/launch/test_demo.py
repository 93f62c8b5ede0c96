"""The whole chain, shortened: a small web, small models, the same commands as the demo."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import small_chain
from commands import ROOT, environment
from small_chain import CONFIGS

from data_prep.configfile import load
from data_prep.errors import UserError
from pipeline.chain import ChainConfig, steps
from pipeline.commands import with_free_port
from pipeline.launcher import DEEPSPEED_PORT


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return small_chain.write(tmp_path, "train.tokens=60K", "checkpoint.every=4", "validation.every=60")


def start(chain: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "launch" / "demo.py"), chain.name]
    return subprocess.Popen(
        command, cwd=chain.parent, env=environment(), stdout=log.open("wb"), stderr=subprocess.STDOUT
    )


def finish(chain: Path, log: Path) -> str:
    process = start(chain, log)
    assert process.wait(timeout=600) == 0, log.read_text()[-3000:]
    return log.read_text()


def steps_logged(run: Path) -> list[int]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "train/loss" in line["metrics"]]


@pytest.mark.slow
@pytest.mark.timeout(2400)  # on busy cores
def test_chain_killed_in_pretraining_goes_on_and_then_has_nothing_to_do(chain: Path) -> None:
    folder = chain.parent
    runs = folder / "runs"
    process = start(chain, folder / "first.log")
    try:
        deadline = time.monotonic() + 600
        while not (runs / "demo-pretrain" / "checkpoints" / "latest").exists():
            assert process.poll() is None, (folder / "first.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (folder / "first.log").read_text()[-3000:]
            time.sleep(0.05)
        ranks = [
            p for p in psutil.Process(process.pid).children(recursive=True) if "pretrain.py" in " ".join(p.cmdline())
        ]
        assert ranks
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive, "ranks outlive the killed chain"

    log = finish(chain, folder / "second.log")
    assert "resumed at step" in log
    assert steps_logged(runs / "demo-pretrain") == list(range(1, 119))
    assert re.search(r"validation loss \d", log)
    assert "test accuracy" in log
    assert "perplexity per token" in log
    report = (runs / "report.html").read_text()
    assert "demo-pretrain-low-lr" in report
    assert "http://" not in re.sub(r"http://www\.w3\.org/[\w/]*", "", report)
    outside = {entry.name for entry in folder.iterdir()} - {"web", "data.yaml", "chain.yaml", "first.log", "second.log"}
    assert outside == {"runs"}, "something was written outside the root"

    again = finish(chain, folder / "third.log")
    for name in ("pretrain demo-pretrain", "fine-tune demo-finetune", "evaluate demo-evaluate"):
        assert f"{name}: complete" in again
    assert "step " not in again


def test_steps_fill_in_the_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBTEXT_DATA_ROOT", "/somewhere")
    demo = str(CONFIGS / "chain" / "demo.yaml")
    e2e = str(CONFIGS / "chain" / "e2e.yaml")
    made = steps(load(demo, ChainConfig, ["root=runs/x"]), demo)
    real = steps(load(e2e, ChainConfig), e2e)
    assert [step.title for step in made][1:] == [step.title for step in real], "only the raw input differs"
    assert "data.path=runs/x/data/shards" in made[3].command
    assert "inputs.dumps=[/somewhere/e2e/RS_e2e.zst]" in real[0].command
    assert not any(step.is_complete() for step in made)


def test_deepspeed_gets_another_port_where_its_own_is_taken() -> None:
    plain = ("bin/deepspeed", "launch/pretrain.py")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it: as good
            taken.bind(("", DEEPSPEED_PORT))
            taken.listen()
        assert with_free_port(plain)[:2] == ("bin/deepspeed", "--master_port")
        assert with_free_port(("python", "x.py")) == ("python", "x.py")


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBTEXT_DATA_ROOT", raising=False)
    e2e = str(CONFIGS / "chain" / "e2e.yaml")
    with pytest.raises(UserError, match="environment variable WEBTEXT_DATA_ROOT is not set"):
        steps(load(e2e, ChainConfig), e2e)


def test_a_failing_step_is_named_and_its_code_passed_on(chain: Path) -> None:
    (chain.parent / "web" / "RS_small").unlink()
    command = [sys.executable, str(ROOT / "launch" / "demo.py"), chain.name]
    done = subprocess.run(command, cwd=chain.parent, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "web/RS_small" in done.stderr
    assert "stopped: prepare the data ended with exit code 2" in done.stderr
    assert not (chain.parent / "runs").exists(), "something half-made was left"
