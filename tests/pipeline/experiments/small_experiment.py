"""A small experiment on the animals of `small_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_model import write_task

from data_prep.configfile import validate
from pipeline.config.experiment import ExperimentConfig

FINETUNE = """
run: {{name: any}}
init: {{checkpoint: nowhere}}
task: {{name: animals, path: {task}, dropout: 0.0}}
train: {{epochs: 2, global_batch: 8, micro_batch: 8}}
optimizer: {{lr: 1e-2}}
"""
TFIDF = "run: {{name: any}}\ntask: {{name: animals, path: {task}}}\ntfidf: {{}}\n"
ARMS = [
    {"name": "scratch", "config": "finetune.yaml", "set": ["init.weights=random"]},
    {"name": "counts", "kind": "features", "config": "tfidf.yaml", "axis": False},
    {"name": "again", "config": "finetune.yaml", "after": "scratch"},
]
AXIS = {
    "name": "labels",
    "points": [{"at": 30, "label": "all"}, {"at": 9, "set": ["task.train_examples=9", "init.weights=pretrained"]}],
}


def experiment(folder: Path, **changes: Any) -> tuple[ExperimentConfig, str]:
    """An experiment and the file that it would lie in, beside configs of its arms."""
    task = folder / "task"
    write_task(task)
    for name, text in (("finetune", FINETUNE), ("tfidf", TFIDF)):
        (folder / f"{name}.yaml").write_text(text.format(task=task))
    data = {"name": "small", "title": "Small", "dir": str(folder / "runs"), "arms": ARMS, "axis": AXIS, "seeds": [3, 5]}
    return validate(ExperimentConfig, {**data, **changes}, "test"), str(folder / "small.yaml")
