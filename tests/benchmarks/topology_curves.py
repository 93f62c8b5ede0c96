"""One real pretraining under ZeRO-1, ZeRO-3 and two pipeline stages: loss curves, and how far they lie apart.

    python tests/benchmarks/topology_curves.py SHARDS FOLDER docs/topologies.svg

About 10 million parameters with a vocabulary of 8,192, two ranks, fp32, on the CPU; some minutes a run. SHARDS is a
token dataset; the runs go into FOLDER, where those that are complete are not repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "model.n_layer": 6,
    "model.n_head": 5,
    "model.d_model": 320,
    "model.sequence_length": 128,
    "model.dropout": 0.0,
    "train.tokens": 122_880,
    "train.global_batch": 16,
    "train.micro_batch": 4,
    "train.log_every": 1,
    "optimizer.lr": 1e-3,
    "schedule.warmup_tokens": 12_288,
    "validation.every": 30,
    "checkpoint.every": 30,
    "tracking.mlflow": "false",
}
RUNS = {
    "ZeRO-1": {"parallel.zero_stage": 1},
    "ZeRO-3": {"parallel.zero_stage": 3},
    "PP-2": {"parallel.zero_stage": 1, "parallel.pipeline": 2},
}
STYLE = {"ZeRO-1": {"linewidth": 5, "alpha": 0.35}, "ZeRO-3": {"linewidth": 2}, "PP-2": {"linestyle": (0, (1, 3))}}


def losses(name: str, shards: str, folder: Path) -> dict[int, float]:
    """Step -> training loss of one run, which is made unless it is complete."""
    run = f"curve-{name.lower()}"
    settings = {**SETTINGS, **RUNS[name], "data.path": shards, "run.dir": folder, "run.name": run}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "launch/pretrain.py"), str(ROOT / "configs/pretrain/demo.yaml")]
    command += [f"{key}={value}" for key, value in settings.items()]
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    lines = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["metrics"]["train/loss"] for line in lines if "train/loss" in line["metrics"]}


def main() -> None:
    """Run, plot, print the largest difference."""
    shards, folder, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found = {name: losses(name, shards, folder) for name in RUNS}
    reference = found["ZeRO-1"]
    apart = {name: max(abs(curve[s] - reference[s]) for s in reference) for name, curve in found.items()}
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 5.5), sharex=True, height_ratios=[3, 1.3])
    for name, curve in found.items():
        steps = sorted(curve)
        above.plot(steps, [curve[s] for s in steps], label=name, **STYLE[name])
        if name != "ZeRO-1":
            below.plot(steps, [abs(curve[s] - reference[s]) for s in steps], label=f"{name} to ZeRO-1", linewidth=1)
    above.set_ylabel("training loss, nats per token")
    above.legend(frameon=False)
    below.set(ylabel="distance", xlabel="step", yscale="symlog")
    below.set_yscale("symlog", linthresh=1e-7)
    below.legend(frameon=False)
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target)
    for name, value in apart.items():
        print(f"{name}: {len(found[name])} steps, at most {value:.2g} from ZeRO-1")


if __name__ == "__main__":
    main()
