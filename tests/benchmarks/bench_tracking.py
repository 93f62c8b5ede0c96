"""What tracking costs a training step: no tracking, a live MLflow server, and one that is killed in mid-run.

Real runs of the Trainer with a log line every step, taking turns; the median time between two log lines.
"""

from __future__ import annotations

import json
import statistics
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from harness import ranks
from measure import Row
from mlflow_server import Server
from small_model import pretrain_config, write_dataset

from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain
from pipeline.tracking.runfolder import MLFLOW_FILE, read_metrics

MODEL = {"n_layer": 4, "n_head": 4, "d_model": 128, "sequence_length": 64}
BATCH = {"global_batch": 16, "micro_batch": 8, "log_every": 1}
STEPS, WARM, ROUNDS = 600, 300, 3
"""In the first half of the steps mlflow is imported, and the server is killed; medians are of the second half."""
KINDS = ("no tracking", "server alive", "server killed")


def step_times(config: PretrainConfig) -> list[float]:
    """Seconds of each step."""
    pretrain(config)
    run = Path(config.run.dir) / config.run.name
    times = [record.time for _, record in read_metrics(run) if "train/loss" in record.metrics]
    return [after - before for before, after in pairwise(times)]


def acknowledged(run: Path) -> int:
    """The last step that a server is known to have."""
    return max(int(one["step_acknowledged"]) for one in json.loads((run / MLFLOW_FILE).read_text()).values())


def killed_when_it_has_something(server: Server, run: Path) -> threading.Thread:
    """Kill the server as soon as it holds points of the run."""

    def watch() -> None:
        while not (run / MLFLOW_FILE).exists() and not done.wait(0.02):
            pass
        server.kill()

    done = threading.Event()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_step_with_tracking(tmp_path: Path, table: list[Row]) -> None:
    write_dataset(tmp_path / "data", train=8000, validation=200)
    server = Server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    tokens = STEPS * BATCH["global_batch"] * MODEL["sequence_length"]
    rounds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    worst = dict.fromkeys(KINDS, 0.0)
    try:
        for turn in range(ROUNDS):
            for kind in KINDS:
                name = f"{kind.replace(' ', '-')}-{turn}"
                tracked = {"mlflow": kind != "no tracking", "uri": server.uri, "experiment": "bench"}
                config = pretrain_config(
                    tmp_path / "data",
                    tmp_path / "runs",
                    run={"name": name},
                    model=MODEL,
                    train={**BATCH, "tokens": tokens},
                    validation={"every": STEPS},
                    checkpoint={"every": STEPS},
                    tracking=tracked,
                )
                if kind != "no tracking":
                    server.start()
                if kind == "server killed":
                    killed_when_it_has_something(server, tmp_path / "runs" / name)
                (found,) = ranks(1, step_times, config, timeout=280)
                rounds[kind].append(statistics.median(found[WARM:]))
                worst[kind] = max(worst[kind], *found[1:])
                if kind == "server killed":
                    assert acknowledged(tmp_path / "runs" / name) < WARM
    finally:
        server.kill()
    plain = rounds["no tracking"]
    for kind in KINDS[1:]:
        more = [100 * (one / other - 1) for one, other in zip(rounds[kind], plain, strict=True)]
        table.append(
            Row(
                f"a training step with tracking, {kind}",
                f"{1000 * statistics.median(rounds[kind]):.2f} ms a step",
                f"no tracking {1000 * statistics.median(plain):.2f} ms",
                f"{statistics.median(more):+.1f} % time",
                f"{min(more):+.1f} to {max(more):+.1f} % in {ROUNDS} runs; {STEPS - WARM} steps each, a log line each; "
                f"longest {1000 * worst[kind]:.0f} ms ({1000 * worst['no tracking']:.0f} without)",
            )
        )
