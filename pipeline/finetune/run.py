"""A fine-tuning run from its configuration to its result."""

from __future__ import annotations

import math
from typing import Any

from data_prep.tokenizer import Tokenizer
from pipeline import distributed
from pipeline.complete import made_from, result_of
from pipeline.config.schema import FinetuneConfig
from pipeline.distributed import World, on_main
from pipeline.finetune.examples import Split, TrainSamples
from pipeline.finetune.heads import TaskModel
from pipeline.finetune.metrics import measure, with_floors
from pipeline.finetune.order import LengthGroups
from pipeline.finetune.origin import TASK, Origin, start_weights
from pipeline.finetune.scores import gather_scores
from pipeline.finetune.task import Task
from pipeline.model.sizes import parameter_count
from pipeline.tracking import DatasetInput
from pipeline.train.engine import Engine
from pipeline.train.job import Job
from pipeline.train.metrics import labelled
from pipeline.train.session import join, run_job, say_on
from pipeline.train.zero_engine import ZeroEngine

TRAIN, VALIDATION = "train", "validation"


def outputs_of(task: Task) -> int:
    """Outputs of the head: one for each class, or a single one that scores an example or a candidate."""
    return len(task.labels) or 1


def task_facts(task: Task) -> dict[str, Any]:
    """What a checkpoint records of the task that its head is for."""
    return {"name": task.name, "kind": task.kind, "target": task.target, "labels": task.labels}


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Fine-tune, or continue, or recognise as complete; returns the content of `result.json`.

    Raises:
        UserError: what to start from, the task or a setting cannot be used.
        RunEnd: the run ended early.
    """
    done = result_of(config)
    if done is not None:
        return done
    world = join(config)
    config.parallel.check_ranks(config.precision, world.size, world.device.type)
    say = say_on(world)
    origin = on_main(world, lambda: Origin.open(config.init.checkpoint, config.task.dropout))
    task = on_main(world, lambda: Task.load(config.task, say))
    tokenizer = Tokenizer(origin.tokenizer, str(origin.folder))
    length = origin.shape.sequence_length
    splits = {name: Split(task, name, tokenizer, length) for name in task.splits}
    module = _module(config, origin, task)
    units = units_of(config, len(splits[TRAIN]))
    for line in announced(config, origin, task, splits, units):
        say(line)
    job = _job(config, origin, task, splits, units)
    result = run_job(
        config,
        lambda: ZeroEngine(module, config, world),
        job,
        world,
        made_from=made_from(config),
        params={
            "task.kind": task.kind,
            "task.labels": len(task.labels),
            "task.train_examples": len(splits[TRAIN]),
            "parallel.world_size": world.size,
        },
        inputs=[
            DatasetInput(
                f"{config.task.name}/{name}",
                task.digest,
                task.where,
                {TRAIN: "training", VALIDATION: "validation"}.get(name, "evaluation"),
            )
            for name in splits
        ],
        after=lambda engine: _test(engine, splits, task, config),
    )
    _tell(result, task, splits, config, world)
    distributed.shutdown()
    return result


def units_of(config: FinetuneConfig, examples: int) -> int:
    """Examples that a run trains on, of so many different ones: those of `train.epochs`, or of `train.min_steps`."""
    return max(math.ceil(config.train.epochs * examples), config.train.min_steps * config.train.global_batch)


def validate_every(config: FinetuneConfig, units: int) -> int | None:
    """Steps between validations of a run over `units` examples, where `validation.epochs` says so; else None."""
    if config.validation.epochs is None:
        return None
    # Rounded up, so that the last falls on the last step and not on the one before it.
    return math.ceil(units * config.validation.epochs / config.train.epochs / config.train.global_batch)


def _module(config: FinetuneConfig, origin: Origin, task: Task) -> TaskModel:
    module = TaskModel(
        origin.shape,
        origin.vocab_size,
        task.kind,
        task.target,
        outputs_of(task),
        config.task.aux_lm,
        config.task.dropout,
        config.kernels,
    )
    module.start_from(start_weights(origin, config.init), config.run.seed)
    return module


def announced(config: FinetuneConfig, origin: Origin, task: Task, splits: dict[str, Split], units: int) -> list[str]:
    """What people are told before the first step."""
    layers = config.init.transfer_layers
    start = f"{config.init.weights} weights" + (f" ({layers} layers)" if layers is not None else "")
    asked = f"{len(task.labels)} labels" if task.labels else {"score": "a score"}.get(task.target, "a choice")
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in splits.items())
    lines = [
        f"{config.run.name}: {task.name} ({task.kind}, {asked}) from {start} of {origin.folder}; {sizes} examples; "
        f"{math.ceil(units / config.train.global_batch):,} steps of {config.train.global_batch}"
    ]
    cut = {name: int(split.encoded.cut.sum()) for name, split in splits.items() if split.encoded.cut.any()}
    if cut:
        shares = ", ".join(f"{name} {count:,} ({100 * count / len(splits[name]):.1f} %)" for name, count in cut.items())
        lines.append(f"examples cut to a context of {origin.shape.sequence_length} tokens: {shares}")
    return lines


def _job(config: FinetuneConfig, origin: Origin, task: Task, splits: dict[str, Split], units: int) -> Job:
    train, batch = splits[TRAIN], config.train
    order = LengthGroups(train.encoded.lengths, config.run.seed, batch.global_batch, batch.length_group)
    language = config.task.aux_lm > 0
    facts: dict[str, object] = {
        "task": task.digest,
        "length": origin.shape.sequence_length,
        "seed": config.run.seed,
        "length_group": batch.length_group,
        "language": language,
    }
    return Job(
        kind="finetune",
        tokenizer=origin.tokenizer,
        model={**origin.shape.facts(origin.vocab_size), TASK: task_facts(task)},
        samples=TrainSamples(train, order, language, facts),
        validate=lambda engine: _measured(engine, splits[VALIDATION], task, config),
        units=units,
        metrics=labelled,
        lineage={**(origin.lineage if config.init.transfers else {}), "task": task.source},
        parameters=parameter_count(origin.shape, origin.vocab_size),
        validate_every=validate_every(config, units),
        selects=task.metrics[0],
        result=config.validation.select,
    )


def _measured(engine: Engine, split: Split, task: Task, config: FinetuneConfig) -> dict[str, float]:
    """Loss and metrics of a whole split; collective."""
    width = split.encoded.most_rows if task.kind == "choice" else outputs_of(task)
    scores = gather_scores(engine, split.encoded, width, config.train.micro_batch)
    return measure(scores, split.labels, task.target, task.metrics)


def _test(engine: Engine, splits: dict[str, Split], task: Task, config: FinetuneConfig) -> dict[str, float]:
    """Metrics of every test set; collective."""
    found: dict[str, float] = {}
    for name, split in splits.items():
        if name in (TRAIN, VALIDATION):
            continue
        metrics = with_floors(task, name, _measured(engine, split, task, config))
        found |= {f"{name}/{metric}": value for metric, value in metrics.items()}
    return found


def _tell(result: dict[str, Any], task: Task, splits: dict[str, Split], config: FinetuneConfig, world: World) -> None:
    """Say what came out."""
    say, metrics, headline = say_on(world), result["metrics"], task.metrics[0]
    which = f"{config.validation.select} checkpoint"
    if "best/step" in metrics:
        say(
            f"{config.run.name}: best validation {headline} {metrics[f'best/{headline}']:.4f} at step "
            f"{metrics['best/step']:,}; tested is the {which}, {result['checkpoint']}"
        )
    for name, split in splits.items():
        if name in (TRAIN, VALIDATION):
            continue
        shown = []
        for metric in task.metrics:
            spread = f" +- {metrics[f'{name}/stderr']:.4f}" if metric == "accuracy" else ""
            shown.append(f"{metric} {metrics[f'{name}/{metric}']:.4f}{spread}")
        floor = metrics.get(f"{name}/majority")
        chance = f"; the most frequent label alone gives {floor:.4f}" if floor is not None else ""
        say(f"{config.run.name}: {name} {', '.join(shown)} ({len(split):,} examples{chance})")
