"""Fine-tuning under every ZeRO stage against plain PyTorch, for every kind of task."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetuned import KINDS, VOCAB, small_task
from harness import ranks
from small_model import finetune_config, model_config, plain_optimizer, tokenizer_bytes

from data_prep.tokenizer import Tokenizer
from pipeline import distributed
from pipeline.config.schema import FinetuneConfig
from pipeline.finetune.examples import Split, TrainSamples
from pipeline.finetune.heads import TaskModel
from pipeline.finetune.metrics import measure
from pipeline.finetune.order import LengthGroups
from pipeline.finetune.scores import gather_scores
from pipeline.finetune.task import Task
from pipeline.train.engine import reduce_sums
from pipeline.train.feed import part_of
from pipeline.train.zero_engine import ZeroEngine

RATES = (0.004, 0.01, 0.003)
BATCH, LENGTH = 8, 32
CASES = [
    *((name, stage, "fp32") for name in KINDS for stage in (1, 3)),
    *((name, stage, "fp32") for name in ("classification", "choice") for stage in (0, 2)),
    ("similarity score", 1, "bf16"),
    ("choice", 3, "bf16"),
]


def settings(stage: int, precision: str = "fp32") -> FinetuneConfig:
    return finetune_config(
        Path("none"),
        Path("none"),
        Path("none"),
        train={"global_batch": BATCH, "micro_batch": 2},
        optimizer={"lr": 1.0, "weight_decay": 0.3, "grad_clip": 0.5, "eps": 1e-4},
        parallel={"zero_stage": stage},
        precision=precision,
    )


def parts(task: Task) -> tuple[TaskModel, TrainSamples, Split]:
    tokenizer = Tokenizer(tokenizer_bytes())
    model = TaskModel(
        model_config(sequence_length=LENGTH), VOCAB, task.kind, task.target, len(task.labels) or 1, 0.5, 0.0
    )
    model.start_from({}, seed=3)
    train = Split(task, "train", tokenizer, LENGTH)
    order = LengthGroups(train.encoded.lengths, 5, BATCH, 2)
    return model, TrainSamples(train, order, True, {}), Split(task, "validation", tokenizer, LENGTH)


def train_all(cases: list[tuple[str, int, str]]) -> list[dict[str, Any]]:
    """Losses of every step, and the scores of the validation split, on this rank."""
    world, found = distributed.init(), []
    for name, stage, precision in cases:
        model, samples, validation = parts(small_task(name))
        engine, losses = ZeroEngine(model, settings(stage, precision), world), []
        for step, rate in enumerate(RATES):
            batch = np.arange(BATCH * step, BATCH * (step + 1))
            mine = part_of(batch, world.rank, world.size, 2)
            sums = reduce_sums(engine.train_step([samples.batch(part) for part in mine], rate).sums)
            losses.append([sums["task_loss"] / sums["examples"], sums["lm_loss"] / sums["examples"]])
        width = validation.encoded.most_rows if model.kind == "choice" else model.score.out_features
        found.append({"losses": losses, "scores": gather_scores(engine, validation.encoded, width, 2)})
    return found


def plain(name: str) -> dict[str, Any]:
    """The same steps on whole batches without DeepSpeed."""
    model, samples, validation = parts(small_task(name))
    optimizer, losses = plain_optimizer(model, settings(1).optimizer), []
    for step, rate in enumerate(RATES):
        out = model(**samples.batch(np.arange(BATCH * step, BATCH * (step + 1))))
        losses.append([float(out[part]) / BATCH for part in ("task_loss", "lm_loss")])
        out["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        scores = model.eval()(**validation.encoded.batch(np.arange(len(validation))))["scores"]
    return {"losses": losses, "scores": scores.double().numpy()}


def test_every_stage_and_number_of_ranks_trains_as_plain_pytorch() -> None:
    expected = {name: plain(name) for name in KINDS}
    for size in (1, 2):
        every = ranks(size, train_all, CASES)
        for (name, stage, precision), *found in zip(CASES, *every, strict=True):
            where = f"{name}, ZeRO-{stage}, {precision}, {size} ranks"
            exact = precision == "fp32"
            for one in found:
                losses = np.array(expected[name]["losses"])
                np.testing.assert_allclose(one["losses"], losses, rtol=0 if exact else 0.05, atol=1e-6, err_msg=where)
                assert np.array_equal(one["scores"], found[0]["scores"]), where
                if exact:
                    np.testing.assert_allclose(one["scores"], expected[name]["scores"], 1e-4, 1e-5, err_msg=where)
    assert all(one["losses"][0] != one["losses"][1] for one in expected.values())


def test_metrics_of_gathered_scores_are_those_of_the_whole_split() -> None:
    task = small_task("classification")
    *_, validation = parts(task)
    scores = plain("classification")["scores"]
    found = measure(scores, validation.labels, "label", ("accuracy", "f1"))
    right = sum(int(row.argmax()) == label for row, label in zip(scores, validation.labels, strict=True))
    assert found["accuracy"] == pytest.approx(right / 11)
    assert math.isfinite(found["loss"])
