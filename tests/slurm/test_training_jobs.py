"""Training through the shipped batch scripts on two nodes: warned, requeued, killed, and still the same run."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from harness import ranks
from jobs import BatchJob, sbatch, update, wait_for
from run_folder import assert_same_run, metrics
from small_model import pretrain_config

from data_prep import store
from data_prep.configfile import to_yaml
from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain
from pipeline.slurm import restarts

pytestmark = pytest.mark.slow
STEPS = 400
TWO_NODES = ["--nodes=2", "--ntasks-per-node=1"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    slurm_cluster.require()
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.running(folder):
        yield folder


def settings(dataset: Path, runs: Path, **changes: object) -> PretrainConfig:
    given = {
        "train": {"tokens": STEPS * 12 * 16, "micro_batch": 6},
        "checkpoint": {"every": 50},
        "validation": {"every": 200},
    }
    return pretrain_config(dataset, runs, **{**given, **changes})


@pytest.fixture(scope="module")
def whole(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing hinders."""
    runs = tmp_path_factory.mktemp("whole")
    ranks(2, pretrain, settings(small_dataset, runs))
    return runs / "run"


def config_file(path: Path, config: PretrainConfig) -> str:
    path.write_text(to_yaml(config))
    return path.name


def go_on_for(job: BatchJob, run: Path, steps: int = 20) -> None:
    """Wait until this start of the run has logged so many steps."""
    begins = restarts.newest_step(run)
    job.wait_until_said(rf"^step +{begins + steps}/{STEPS}")


@pytest.mark.timeout(900)
def test_a_run_through_time_limit_requeue_and_kill_9_is_the_unhindered_run(
    cluster: Path, small_dataset: Path, whole: Path, tmp_path: Path, mlflow_store: str
) -> None:
    run = tmp_path / "run"
    tracking = {"mlflow": True, "uri": mlflow_store, "experiment": "requeued"}
    config = config_file(tmp_path / "c.yaml", settings(small_dataset, tmp_path, tracking=tracking))
    options = [*TWO_NODES, "--time=60", "--signal=B:USR1@20"]
    job = sbatch("pretrain", config, options=options, cwd=tmp_path, IFNAME="lo", NODE_DIR=str(tmp_path / "node"))

    go_on_for(job, run)
    # The ranks stand still until Slurm, which looks twice a minute, finds that the time is nearly over.
    for rank in job.ranks().values():
        rank.send_signal(signal.SIGSTOP)
    # A limit sooner than its next look ends the job without a warning.
    hours, minutes, seconds = map(int, job.facts()["RunTime"].split(":"))
    update(job, f"TimeLimit={60 * hours + minutes + (1 if seconds < 15 else 2)}")
    job.wait_until_said("asked to stop; SIGUSR1")
    for rank in job.ranks().values():
        rank.send_signal(signal.SIGCONT)
    wait_for(lambda: job.facts()["Restarts"] == "1", 120, job.describe)
    update(job, "TimeLimit=60")

    job.wait_until_said("^start 2 of run from the checkpoint of step")
    go_on_for(job, run)
    subprocess.run(["scontrol", "requeue", job.id], check=True)

    job.wait_until_said("^start 3 of run from the checkpoint of step")
    go_on_for(job, run)
    job.ranks()[1].kill()

    job.wait_until_said("^start 4 of run from the checkpoint of step")
    assert job.end() == ("COMPLETED", "0"), job.describe()
    assert job.facts()["Restarts"] == "3"
    outcomes = [one.outcome for one in restarts.read(run)]
    assert outcomes[0::2] == ["stopped", "lost"]
    assert outcomes[1] in ("stopped", None)  # Slurm may end the batch script before it says so
    assert outcomes[3] == "finished"
    assert restarts.read(run)[2].suspect == "n2"
    assert_same_run(whole, run)
    logged = [(step, tokens) for step, tokens, values in metrics(run) if "train/loss" in values]
    assert [step for step, _ in logged] == list(range(1, STEPS + 1))
    assert tracked_tokens(mlflow_store, "requeued") == [tokens for _, tokens in logged]
    assert (tmp_path / "node" / f"job-{job.id}").is_dir()


def tracked_tokens(uri: str, experiment: str) -> list[int]:
    """Tokens at which MLflow has a training loss, in the one run there is."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (only,) = client.search_runs([found.experiment_id])
    assert only.info.status == "FINISHED"
    return [one.step for one in client.get_metric_history(only.info.run_id, "train/loss")]


@pytest.mark.timeout(900)
def test_a_lost_node_and_a_warning_with_one_task_a_node(
    cluster: Path, small_dataset: Path, whole: Path, tmp_path: Path
) -> None:
    """TASKS=node starts the ranks of a node by one task; when a node is gone, the script or Slurm requeues the job."""
    run = tmp_path / "run"
    config = config_file(tmp_path / "c.yaml", settings(small_dataset, tmp_path))
    # In front of each rank as a container would be: as many threads as the other runs have.
    in_front = "env LOCAL_WORLD_SIZE=2"
    job = sbatch("pretrain", config, options=TWO_NODES, cwd=tmp_path, TASKS="node", CONTAINER=in_front)
    go_on_for(job, run)
    assert job.ranks()[1].environ()["LOCAL_WORLD_SIZE"] == "2"
    assert set(job.ranks()) == {0, 1}
    subprocess.run(["scancel", "--signal=USR1", "--batch", job.id], check=True)
    job.wait_until_said("^start 2 of run from the checkpoint of step")
    go_on_for(job, run)
    daemon = int((cluster / "slurmd.n2.pid").read_text())
    task = job.ranks()[1].parent()
    assert task is not None
    slurm_cluster.kill_node(daemon, task)
    wait_for(lambda: slurm_cluster.state_of("n2").startswith("DOWN"), 120, job.describe)
    # Another takes its place: one that is back at once gets late what Slurm could not tell it before, to end the job.
    slurm_cluster.start_node(cluster, slurm_cluster.SPARE)
    assert job.end() == ("COMPLETED", "0"), job.describe()
    outcomes = [one.outcome for one in restarts.read(run)]
    assert (outcomes[0], outcomes[-1]) == ("stopped", "finished")
    assert len(outcomes) >= 3
    assert restarts.read(run)[-1].nodes == "n[1,3]"
    assert_same_run(whole, run)
    slurm_cluster.start_node(cluster, "n2")
    wait_for(lambda: slurm_cluster.state_of("n2").startswith("IDLE"), 120)


@pytest.mark.usefixtures("cluster")
def test_what_is_not_requeued(small_dataset: Path, tmp_path: Path) -> None:
    """Bad settings before a rank is started, a step that killed the run twice, and a job that the user cancels."""
    config = config_file(tmp_path / "c.yaml", settings(small_dataset, tmp_path))
    bad = sbatch("pretrain", config, "model.n_layer=-1", options=TWO_NODES, cwd=tmp_path)
    none = sbatch("pretrain", options=TWO_NODES, cwd=tmp_path)
    missing = sbatch("pretrain", config, "data.path=nowhere", "run.name=missing", options=["--nodes=1"], cwd=tmp_path)
    poisoned = tmp_path / "run"
    beat = {"step": 3, "first": 24, "end": 36}
    store.write_json(str(poisoned / "attempts.json"), {"beat": beat, "count": 9})
    poison = sbatch("pretrain", config, options=["--nodes=1"], cwd=tmp_path)
    assert bad.end() == ("FAILED", "2")
    assert bad.log.read_text().splitlines()[0].startswith("error: ")
    assert none.end() == ("FAILED", "2")
    assert "error: no config: sbatch slurm/pretrain.sbatch CONFIG" in none.log.read_text()
    assert missing.end() == ("FAILED", "2"), missing.describe()
    assert "bad input or settings; not requeued" in missing.log.read_text()
    assert poison.end() == ("FAILED", "4"), poison.describe()
    assert "the same step failed twice" in poison.log.read_text()
    assert {job.facts()["Restarts"] for job in (bad, none, missing, poison)} == {"0"}


# Stands for Python where the ranks are concerned, on a host that breaks them.
BAD_HOST = """#!/bin/sh
case "$*" in
*launch/requeue.py*) exec {python} "$@" ;;
esac
case "$SLURMD_NODENAME" in
{bad}) kill -KILL $$ ;;
esac
"""


@pytest.mark.usefixtures("cluster")
def test_a_host_that_fails_twice_is_left_out(small_dataset: Path, tmp_path: Path) -> None:
    config = config_file(tmp_path / "c.yaml", settings(small_dataset, tmp_path))

    python = tmp_path / "python"
    python.write_text(BAD_HOST.format(python=sys.executable, bad="n1"))
    python.chmod(0o755)
    options = ["--nodes=1", "--ntasks-per-node=1"]
    first = sbatch("pretrain", config, options=options, cwd=tmp_path, PYTHON=str(python))
    assert first.end() == ("COMPLETED", "0"), first.describe()
    assert [attempt.suspect for attempt in restarts.read(tmp_path / "run")] == ["n1", "n1", None]
    assert first.facts()["ExcNodeList"] == "n1"
    assert first.facts()["NodeList"] in ("n2", "n3")
