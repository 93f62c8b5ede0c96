"""What tracking costs a training step: no tracking, a live MLflow server, and one that is killed in mid-run.

Real runs of the Trainer with a log line every step, taking turns: the median time between two log lines, and the
processor time of the threads beside the training one, the tracker's among them: it says what tracking takes away at
most, however much other programs disturb the former.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from harness import ranks
from measure import Row
from mlflow_server import Server
from small_model import pretrain_config, write_dataset

from pipeline.config.schema import PretrainConfig
from pipeline.pretrain import pretrain
from pipeline.tracking.runfolder import MLFLOW_FILE, read_metrics

MODEL = {"n_layer": 4, "n_head": 4, "d_model": 128, "sequence_length": 64}
BATCH = {"global_batch": 4, "micro_batch": 4, "log_every": 1}
STEPS, WARM, ROUNDS = 600, 400, 3
"""In the first steps mlflow is imported, and the server is killed; medians are of those behind them."""
KINDS = ("no tracking", "server alive", "server killed")


def step_times(config: PretrainConfig) -> tuple[list[float], float]:
    """Seconds between the log lines, and processor seconds of other threads a step; behind the first WARM steps.

    The run has one core, the server the others.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    mine = time.pthread_getcpuclockid(threading.get_ident())
    samples: list[tuple[float, float]] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.1):
            samples.append((time.time(), time.process_time() - time.clock_gettime(mine)))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    pretrain(config)
    done.set()
    thread.join()
    run = Path(config.run.dir) / config.run.name
    times = [record.time for _, record in read_metrics(run) if "train/loss" in record.metrics]
    begin, end = np.interp([times[WARM], times[-1]], *np.array(samples).T)
    return [after - before for before, after in pairwise(times)], float(end - begin) / (len(times) - 1 - WARM)


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
    processor: dict[str, list[float]] = {kind: [] for kind in KINDS}
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
                ((found, used),) = ranks(1, step_times, config, timeout=280)
                rounds[kind].append(statistics.median(found[WARM:]))
                processor[kind].append(used)
                worst[kind] = max(worst[kind], *found[1:])
                if kind == "server killed":
                    assert acknowledged(tmp_path / "runs" / name) < WARM
    finally:
        server.kill()
    plain, idle = (1000 * statistics.median(times[KINDS[0]]) for times in (rounds, processor))
    for kind in KINDS[1:]:
        step, other = (1000 * statistics.median(times[kind]) for times in (rounds, processor))
        more = [100 * (one / two - 1) for one, two in zip(rounds[kind], rounds[KINDS[0]], strict=True)]
        table.append(
            Row(
                f"a training step with tracking, {kind}",
                f"{step:.2f} ms a step",
                f"no tracking {plain:.2f} ms",
                f"{statistics.median(more):+.1f} % time",
                f"{min(more):+.1f} to {max(more):+.1f} % in {ROUNDS} runs; {STEPS - WARM} steps each, a log line each; "
                f"longest {1000 * worst[kind]:.0f} ms ({1000 * worst[KINDS[0]]:.0f} without)",
            )
        )
        table.append(
            Row(
                "the same, processor time of threads beside the training one",
                f"{other:.2f} ms a step",
                f"no tracking {idle:.2f} ms",
                f"{100 * (other - idle) / plain:+.1f} % of a step",
                "",
            )
        )
