"""Small tasks of every kind, and checkpoints of fine-tuned models that were never trained."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from small_model import model_config, sentence, text, tokenizer_bytes

from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.pieces import copy_to_host, state_file, whole_weights, write_state
from pipeline.checkpoint.store import TOKENIZER, CheckpointManifest, CheckpointStore, Cursor, facts_of
from pipeline.config.model import ModelConfig
from pipeline.finetune.heads import TaskModel
from pipeline.finetune.task import Example, Task

VOCAB = Tokenizer(tokenizer_bytes()).vocab_size


def shaken_model(kind: str, target: str, labels: Sequence[str], shape: ModelConfig) -> TaskModel:
    """A model whose every parameter, biases too, is random."""
    model = TaskModel(shape, VOCAB, kind, target, len(labels) or 1, 0.5, 0.0)  # type: ignore[arg-type]
    model.start_from({}, seed=3)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)), alpha=0.2)
    return model.eval()


def write_finetuned(
    folder: Path, task_kind: str, /, target: str = "label", labels: Sequence[str] = (), **shape: Any
) -> tuple[Path, TaskModel]:
    """A checkpoint of fine-tuning below a folder, and the model in it."""
    config = model_config(**{"sequence_length": 32, **shape})
    model = shaken_model(task_kind, target, labels, config)
    task = {"name": "some", "kind": task_kind, "target": target, "labels": list(labels)}
    facts = {**config.facts(VOCAB), "task": task}
    return write_checkpoint(folder, "finetune", facts, dict(model.named_parameters())), model


def write_checkpoint(folder: Path, kind: str, facts: dict[str, Any], weights: dict[str, torch.Tensor]) -> Path:
    """A checkpoint with the weights only."""
    store = CheckpointStore(folder, keep_last=1)
    folder.mkdir(parents=True, exist_ok=True)
    tmp = store.begin(1)
    write_state(tmp / state_file(0), copy_to_host(whole_weights({n: w.detach() for n, w in weights.items()})))
    (tmp / TOKENIZER).write_bytes(tokenizer_bytes())
    manifest = CheckpointManifest(
        cursor=Cursor(1, 8, 8),
        kind=kind,
        seed=0,
        model=facts,
        data="",
        topology={},
        tokenizer_sha256=hashlib.sha256(tokenizer_bytes()).hexdigest(),
        identity={},
        config_sha="",
        lineage={"before": "aa"},
        tracking_run="",
        files={name: facts_of(tmp / name) for name in (state_file(0), TOKENIZER)},
    )
    return store.commit(tmp, manifest)


KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "classification": ("classification", "label", ("cat", "dog")),
    "entailment": ("entailment", "label", ("no", "yes")),
    "similarity": ("similarity", "label", ("no", "yes")),
    "similarity score": ("similarity", "score", ()),
    "choice": ("choice", "label", ()),
}
"""Name -> (kind, target, labels), one of each head."""


def small_task(name: str, train: int = 24, validation: int = 11, test: int = 13) -> Task:
    """A task in memory whose texts are of many lengths; the answer can be read off the first words."""
    kind, target, labels = KINDS[name]
    draw = random.Random(7)
    splits = {
        split: [_example(kind, target, labels, number, draw) for number in range(count)]
        for split, count in (("train", train), ("validation", validation), ("test", test))
    }
    metrics = ("pearson", "spearman") if target == "score" else ("accuracy",)
    return Task(name, kind, target, splits, list(labels), f"digest of {name}", metrics, "source", "memory")  # type: ignore[arg-type]


def _example(kind: str, target: str, labels: tuple[str, ...], number: int, draw: random.Random) -> Example:
    first, right = ("the cat", "a dog")[number % 2], text(draw, 1 + number % 3)
    if kind == "choice":
        candidates = [sentence(draw) for _ in range(2 + number % 3)]
        answer = draw.randrange(len(candidates))
        candidates[answer] = "it likes it"
        return Example((right, *candidates), answer)
    label: str | float = float(number % 5) if target == "score" else labels[number % 2]
    return Example((f"{first} {right}", sentence(draw))[: 1 if kind == "classification" else 2], label)
