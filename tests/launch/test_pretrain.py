from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from socket import gethostname

import psutil
import pytest
import slurm_cluster
from commands import command, config_file, environment, run
from harness import ranks
from run_folder import assert_same_run, losses
from small_model import pretrain_config

from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain


def test_help_has_examples_and_needs_no_folder(tmp_path: Path) -> None:
    done = run("python", "pretrain", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "deepspeed --num_accelerators 2 launch/pretrain.py" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_line_and_exit_code_2(small_dataset: Path, tmp_path: Path) -> None:
    config = config_file(tmp_path / "config.yaml", pretrain_config(small_dataset, tmp_path / "runs"))
    for arguments, message in (
        (["nothing.yaml"], "nothing.yaml: no such config file"),
        ([config, "model.n_layer=-1"], "model.n_layer: Input should be greater than 0 (got -1)"),
        ([config, "model.n_layers=1"], "unknown key model.n_layers; did you mean model.n_layer?"),
        ([config, "deepspeed.train_batch_size=8"], "deepspeed.train_batch_size is decided by train.global_batch"),
        ([config, "data.path=elsewhere"], "elsewhere: no token dataset here"),
    ):
        done = run("python", "pretrain", *arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        assert message in lines[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_plain_python_is_one_rank(small_dataset: Path, tmp_path: Path) -> None:
    """From a folder that is not the project's; the losses are those of two ranks to rounding."""

    def settings(name: str, micro_batch: int) -> PretrainConfig:
        changes = {"train": {"micro_batch": micro_batch}, "optimizer": {"lr": 1e-2, "eps": 1e-4}}
        return pretrain_config(small_dataset, tmp_path / "runs", run={"name": name}, **changes)

    config = config_file(tmp_path / "config.yaml", settings("one", 12))
    done = run("python", "pretrain", config, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 8/8" in done.stdout
    ranks(2, pretrain, settings("two", 6))
    assert losses(tmp_path / "runs" / "one") == pytest.approx(losses(tmp_path / "runs" / "two"), abs=1e-6)
    again = run("python", "pretrain", config, cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout.strip() == "one: complete, nothing to do"


@pytest.mark.slow
def test_srun_gives_the_losses_of_other_launchers(small_dataset: Path, tmp_path: Path) -> None:
    """One task on each of two nodes, in pipeline stages."""
    slurm_cluster.require()

    def settings(name: str) -> PretrainConfig:
        return pretrain_config(small_dataset, tmp_path / "runs", run={"name": name}, parallel={"pipeline": 2})

    with slurm_cluster.running(tmp_path / "slurm"):
        done = run("srun", "pretrain", config_file(tmp_path / "config.yaml", settings("srun")), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks(2, pretrain, settings("forked"))
    assert_same_run(tmp_path / "runs" / "forked", tmp_path / "runs" / "srun")


@pytest.mark.slow
def test_tensor_parallelism_from_the_command_line(small_dataset: Path, tmp_path: Path) -> None:
    """Two slices train what one rank trains; a rerun finds it complete."""
    changes = {"model": {"vocab_multiple": 2}, "optimizer": {"lr": 1e-2, "eps": 1e-4}}
    settings = pretrain_config(small_dataset, tmp_path / "runs", **changes)
    split = [config_file(tmp_path / "config.yaml", settings), "parallel.tensor=2", "run.name=split"]
    done = run("torchrun", "pretrain", *split, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks(1, pretrain, settings)
    assert losses(tmp_path / "runs" / "split") == pytest.approx(losses(tmp_path / "runs" / "run"), abs=2e-6)
    again = run("python", "pretrain", *split, cwd=tmp_path)
    assert again.stdout.strip() == "split: complete, nothing to do"


def _wait_for(path: Path, process: subprocess.Popen[bytes], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_kill_9_of_the_launcher_ends_the_ranks_and_a_rerun_goes_on_exactly(small_dataset: Path, tmp_path: Path) -> None:
    """Meanwhile another process is refused; `deepspeed`, then `torchrun`, give bit for bit one uninterrupted run."""

    def settings(name: str) -> PretrainConfig:
        return pretrain_config(
            small_dataset,
            tmp_path,
            run={"name": name},
            train={"tokens": 240 * 12 * 16, "micro_batch": 6},
            checkpoint={"every": 20},
            validation={"every": 120},
        )

    config = config_file(tmp_path / "config.yaml", settings("cut"))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command("deepspeed", "pretrain", config), cwd=tmp_path, env=environment(), stdout=log, stderr=log
        )
        _wait_for(tmp_path / "cut" / "checkpoints" / "latest", process)
        ranks_of_it = psutil.Process(process.pid).children(recursive=True)
        for one in ranks_of_it:
            one.suspend()
        second = run("python", "pretrain", config, cwd=tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for one in ranks_of_it:
            one.resume()
    assert second.returncode == 2, second.stdout + second.stderr
    error = second.stderr.strip().splitlines()[-1]
    writers = [f"process {one.pid} on {gethostname()} is writing this run" in error for one in ranks_of_it]
    assert error.startswith("error: ") and any(writers)
    assert len(ranks_of_it) >= 3
    _, alive = psutil.wait_procs(ranks_of_it, timeout=60)
    alive = [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert alive == []
    assert not (tmp_path / "cut" / "result.json").exists()
    done = run("torchrun", "pretrain", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stdout
    ranks(2, pretrain, settings("whole"))
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_a_signal_ends_the_command_with_the_code_that_says_start_me_again(small_dataset: Path, tmp_path: Path) -> None:
    settings = pretrain_config(small_dataset, tmp_path, train={"tokens": 10**6})
    arguments = command("python", "pretrain", config_file(tmp_path / "config.yaml", settings))
    lines = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (lines.exists() and b'"step":2' in lines.read_bytes()):
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert said.strip().splitlines()[-1].startswith("stopped: stopped by SIGTERM behind the checkpoint of step ")
    assert b'"code": 75' in (tmp_path / "run" / "ended.json").read_bytes()
