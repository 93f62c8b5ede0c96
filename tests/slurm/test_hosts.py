"""Two hosts without Slurm: `torchrun --nnodes 2`, `deepspeed --hostfile` over ssh, and a cable that is pulled out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hosts
import pytest
from harness import ranks
from hosts import Host, cable, joined_namespaces, ssh_daemons
from jobs import ROOT, environment, wait_for
from ports import free_port
from run_folder import assert_same_run
from small_model import pretrain_config

from data_prep.configfile import to_yaml
from pipeline.config.schema import PretrainConfig
from pipeline.exit_codes import ExitCode, read_ended
from pipeline.pretrain import pretrain

pytestmark = pytest.mark.slow
SCRIPT = str(ROOT / "launch" / "pretrain.py")
DEEPSPEED = str(Path(sys.executable).parent / "deepspeed")


def over_ssh(config: str, folder: Path, client: Path, where: list[Host], variables: str) -> subprocess.Popen[str]:
    """The command of docs/cluster.md, on the first of the hosts."""
    (folder / "hostfile").write_text("".join(f"{host.address} slots=1\n" for host in where))
    (folder / "deepspeed_env").write_text(variables)
    command = [sys.executable, DEEPSPEED, "--hostfile", "hostfile", "--no_ssh_check", "--log_level", "error"]
    command += ["--master_addr", where[0].address, "--master_port", str(free_port()), SCRIPT, config]
    env = environment(PDSH_SSH_ARGS=f"-2 -a -x -F {client} -l%u %h", DS_ENV_FILE="deepspeed_env")
    return subprocess.Popen(
        [*where[0].enter, *command],
        cwd=folder,
        env=env,
        stdout=(folder / "log").open("a"),
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(1800)
def test_torchrun_on_two_nodes_and_deepspeed_over_ssh_train_the_same(small_dataset: Path, tmp_path: Path) -> None:
    hosts.require("sshd", "ssh", "pdsh")
    for name in ("torchrun", "deepspeed"):
        config = pretrain_config(small_dataset, tmp_path / "runs", run={"name": name}, train={"micro_batch": 6})
        (tmp_path / f"{name}.yaml").write_text(to_yaml(config))
    port = str(free_port())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    torchrun += ["--master_addr", "127.0.0.1", "--master_port", port]
    both = [
        subprocess.Popen(
            [*torchrun, "--node_rank", number, SCRIPT, "torchrun.yaml"],
            cwd=tmp_path,
            env=environment(GLOO_SOCKET_IFNAME="lo"),
        )
        for number in ("0", "1")
    ]
    assert [one.wait(timeout=400) for one in both] == [0, 0]
    where = [Host("127.0.0.2"), Host("127.0.0.3")]
    with ssh_daemons(tmp_path / "ssh", where) as client:
        done = over_ssh("deepspeed.yaml", tmp_path, client, where, "DS_ACCELERATOR=cpu\nGLOO_SOCKET_IFNAME=lo\n")
        assert done.wait(timeout=400) == 0, (tmp_path / "log").read_text()[-4000:]
    assert_same_run(tmp_path / "runs" / "torchrun", tmp_path / "runs" / "deepspeed")


def pretrain_as_on_two_hosts(config: PretrainConfig) -> None:
    """With as many threads: sums in another order differ in the last bits."""
    os.environ["LOCAL_WORLD_SIZE"] = "1"
    pretrain(config)


@pytest.mark.timeout(1800)
def test_a_cut_cable_ends_the_run_and_it_resumes(small_dataset: Path, tmp_path: Path) -> None:
    """Neither side hears of it; the watchdog of each rank ends it, as it ends every hang."""
    hosts.require("sshd", "ssh", "pdsh", "ip")
    changes = {
        "train": {"tokens": 300 * 12 * 16, "micro_batch": 6},
        "checkpoint": {"every": 10},
        "validation": {"every": 300},
        "health": {"hang_minutes": 0.2, "hang_factor": 2, "hang_phase_minutes": 2},
    }
    config = pretrain_config(small_dataset, tmp_path / "runs", **changes)
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    run = tmp_path / "runs" / "run"
    variables = "DS_ACCELERATOR=cpu\nGLOO_SOCKET_IFNAME=eth0\n"

    def log() -> str:
        return (tmp_path / "log").read_text()[-6000:]

    with joined_namespaces() as where, ssh_daemons(tmp_path / "ssh", where) as client:
        first = over_ssh("c.yaml", tmp_path, client, where, variables)
        wait_for(lambda: (run / "checkpoints" / "latest").exists(), 240, log)
        cable(where[1], "down")
        assert first.wait(timeout=240) != 0, log()
        assert not (run / "result.json").exists()
        ended = read_ended(run)
        assert ended is not None
        assert ended["code"] in (ExitCode.HUNG, ExitCode.DEFECT)
        cable(where[1], "up")
        second = over_ssh("c.yaml", tmp_path, client, where, variables)
        assert second.wait(timeout=400) == 0, log()
    assert "resumed at step" in (tmp_path / "log").read_text()
    ranks(2, pretrain_as_on_two_hosts, pretrain_config(small_dataset, tmp_path / "whole", **changes))
    assert_same_run(tmp_path / "whole" / "run", run)
