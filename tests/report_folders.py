"""Run folders of every kind that the comparison knows, written by the tracker and in the suite's own format."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from data_prep.configfile import to_yaml
from pipeline.config.evaluate_suite import Reference
from pipeline.config.experiment import ArmConfig, AxisConfig, ExperimentConfig, PointConfig
from pipeline.evaluate.statistics import proportion
from pipeline.evaluate.suite.scores import Score
from pipeline.experiments.run import CHILDREN, SETTINGS
from pipeline.tracking import RunInfo, Tracker
from pipeline.tracking.lineage import upstream_tags

SIZES = {"tiny": 42_000, "small": 134_000, "medium": 663_000}
TASKS = ("two-digit-addition", "three-digit-addition", "piqa")
EXAMPLES, SHOTS, SEEDS = 60, (0, 1, 4), (1, 2)


def loss(parameters: int, tokens: int) -> float:
    """Validation loss after Hoffmann et al.'s form, with constants for small models."""
    return 1.5 + (4e4 / parameters) ** 0.3 + (1e5 / tokens) ** 0.25


def pretrain(folder: Path, name: str, experiment: str) -> Path:
    """A pretraining run with a score of its own over training, and its last checkpoint."""
    parameters = SIZES[name]
    params = {"model.parameters": parameters, "model.flops_per_token": 6 * parameters, "optimizer.lr": 1e-3}
    params |= {"data.unigram_entropy": 5.9, "schedule.warmup_tokens": 5_000}
    info = RunInfo(name, "pretrain", params, {"digest": digest(name), **upstream_tags({"shards": "5" * 64})})
    with Tracker.start(folder / name, info, None, experiment) as tracker:
        for step in range(1, 13):
            tokens = step * 10_000
            accuracy = 0.5 + 0.02 * step
            scores = {"zero_shot/piqa/0-shot/accuracy": accuracy, "zero_shot/piqa/0-shot/accuracy_stderr": 0.02}
            scores |= {"zero_shot/piqa/0-shot/accuracy_char": 0.4, "zero_shot/piqa/0-shot/accuracy_char_stderr": 0.02}
            tracker.log({"train/loss": loss(parameters, tokens) + 0.1, **scores}, step, tokens)
            tracker.log({"val/loss": loss(parameters, tokens), "perf/tokens_per_s": 1000.0}, step, tokens + 1)
    return folder / name


def digest(name: str) -> str:
    return f"{name}".encode().hex().ljust(64, "0")


def _rows(model: str) -> Iterator[dict[str, Any]]:
    for task in TASKS:
        for shots in SHOTS:
            for seed in SEEDS if shots else (None,):
                variant = f"{shots}-shot" + (f"/seed-{seed}" if seed is not None else "")
                draw = random.Random(f"{task} {variant} {model}")
                skill = 0.15 + 0.2 * list(SIZES).index(model) + 0.05 * shots
                right = [draw.random() < skill for _ in range(EXAMPLES)]
                yield {"task": task, "shots": shots, "seed": seed, "variant": variant, "right": right}


def suite(model: str) -> tuple[list[Score], dict[str, list[dict[str, Any]]]]:
    """Scores, and what each example got, by task."""
    scores, examples = [], {task: [] for task in TASKS}
    for row in _rows(model):
        floors = {"chance": 0.5} if row["task"] == "piqa" else {}
        gpt3 = Reference(source="GPT-3", metric="accuracy", shots=0, values={"GPT-3 125M": 0.64, "GPT-3 175B": 0.81})
        references = [gpt3] if row["task"] == "piqa" else []
        definition = {"shots": row["shots"], "seed": row["seed"]}
        metric = "accuracy" if row["task"] == "piqa" else "exact"
        scores.append(
            Score(row["task"], row["variant"], metric, proportion(row["right"]), definition, floors, references)
        )
        examples[row["task"]] += [
            {"id": number, "variant": row["variant"], "correct": right} for number, right in enumerate(row["right"])
        ]
    return scores, examples


def evaluate(folder: Path, model: str, experiment: str) -> Path:
    """An evaluation run of the last checkpoint of a model."""
    path = folder / f"suite-{model}"
    scores, examples = suite(model)
    titles = {task: "GPT-3 arithmetic" if "digit" in task else "PIQA" for task in TASKS}
    result = {
        "metrics": {},
        "suite": {
            "limit": None,
            "sets": {task: {"title": titles[task], "digest": task} for task in TASKS},
            "scores": [score.as_data() for score in scores],
        },
    }
    info = RunInfo(path.name, "evaluate", {}, upstream_tags({"pretrain": digest(model)}))
    with Tracker.start(path, info, None, experiment) as tracker:
        (path / "result.json").write_bytes(orjson.dumps(result))
        (path / "examples").mkdir()
        for task, rows in examples.items():
            (path / "examples" / f"{task}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        tracker.set_final({score.key: score.estimate.value for score in scores})
        tracker.add_artifact("result.json")
    return path


def layers(folder: Path, experiment: str) -> Path:
    """An experiment over transferred layers, one run of which is not complete."""
    places = (-1, 0, 2, 4)
    points = tuple(PointConfig(at=at, label="none" if at < 0 else None) for at in places)
    config = ExperimentConfig(
        name="layers",
        title="QQP: test accuracy by transferred layers",
        dir=str(folder),
        arms=(ArmConfig(name="fine-tuned", config="qqp.yaml"),),
        axis=AxisConfig(name="transferred blocks", points=points),
        seeds=SEEDS,
    )
    lines = ["arm,at,label,seed,run,complete,test/accuracy,test/majority"]
    final: dict[str, float] = {}
    for at, point in zip(places, points, strict=True):
        values = [0.6 + 0.03 * (at + 1) + 0.01 * seed for seed in SEEDS]
        label = point.label or str(at)
        done = values if at < 4 else values[:1]
        for seed, value in zip(SEEDS, values, strict=True):
            figures = f"1,{value},0.6" if value in done else "0,,"
            lines.append(f"fine-tuned,{float(at)},{label},{seed},layers-{label}-s{seed},{figures}")
        final[f"fine-tuned/{label}/test/accuracy/median"] = math.fsum(done) / len(done)
    path = folder / "layers"
    info = RunInfo("layers", "experiment", {"experiment": "layers"}, {"title": config.title, "seeds": "1, 2"})
    with Tracker.start(path, info, None, experiment) as tracker:
        (path / SETTINGS).write_text(to_yaml(config))
        (path / CHILDREN).write_text("\n".join(lines) + "\n")
        tracker.set_final(final)
        for name in (SETTINGS, CHILDREN):
            tracker.add_artifact(name)
    return path


def write_all(folder: Path, experiment: str) -> Sequence[Path]:
    """All of them, in the order in which they were made."""
    trained = [pretrain(folder, name, experiment) for name in SIZES]
    return [*trained, *(evaluate(folder, name, experiment) for name in SIZES), layers(folder, experiment)]
