"""A fine-tuning run from its configuration to its result."""

from __future__ import annotations

import math
from typing import Any

from data_prep import store
from data_prep.tokenizer import Tokenizer
from pipeline import distributed
from pipeline.checkpoint.language_model import language_model
from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import TOKENIZER, open_checkpoint
from pipeline.complete import TASK_SPLITS, made_from, result_of
from pipeline.config.schema import FinetuneConfig
from pipeline.distributed import on_main
from pipeline.finetune.heads import Classifier
from pipeline.finetune.task import Examples, Task
from pipeline.model.sizes import parameter_count
from pipeline.tracking import DatasetInput
from pipeline.train.engine import Engine
from pipeline.train.job import Job
from pipeline.train.metrics import classification
from pipeline.train.session import join, run_job, say_on
from pipeline.train.validation import validate
from pipeline.train.zero_engine import ZeroEngine


def finetune(config: FinetuneConfig) -> dict[str, Any]:
    """Fine-tune, or continue, or recognise as complete; returns the content of `result.json`.

    Raises:
        UserError: the checkpoint, the task or a setting cannot be used.
        RunEnd: the run ended early.
    """
    done = result_of(config)
    if done is not None:
        return done
    world = join(config)
    config.parallel.check_ranks(config.precision, world.size, world.device.type)
    say = say_on(world)
    folder, manifest = on_main(world, lambda: open_checkpoint(config.init.checkpoint))
    tokenizer = Tokenizer.load(str(folder / TOKENIZER))
    task = Task.load(config.task.path)
    shape, vocab_size = language_model(manifest, config.task.dropout, "init.checkpoint")
    sets = {
        split: Examples(
            task.splits[split],
            task.labels,
            tokenizer,
            shape.sequence_length,
            config.run.seed if split == "train" else None,
            task.digest,
        )
        for split in TASK_SPLITS
    }
    pretrained = config.init.weights == "pretrained"
    module = Classifier(shape, vocab_size, len(task.labels), config.task.aux_lm, config.task.dropout, config.kernels)
    module.start_from(read_weights(folder, manifest) if pretrained else None, config.run.seed)
    units = math.ceil(config.train.epochs * len(sets["train"]))
    say(
        f"{config.run.name}: {config.task.name}, {len(task.labels)} labels, {config.init.weights} weights; "
        + ", ".join(f"{split} {len(examples):,}" for split, examples in sets.items())
        + f" examples ({sum(examples.truncated for examples in sets.values())} cut to "
        f"{shape.sequence_length} tokens); {math.ceil(units / config.train.global_batch):,} steps of "
        f"{config.train.global_batch}"
    )
    upstream = {"pretrain": manifest.digest} if pretrained else {}
    job = Job(
        kind="finetune",
        tokenizer=store.read_bytes(str(folder / TOKENIZER)),
        model={**manifest.model, "dropout": config.task.dropout, "classes": len(task.labels)},
        samples=sets["train"],
        validation=sets["validation"],
        units=units,
        metrics=classification,
        lineage={**manifest.lineage, **upstream, "task": task.digest},
        parameters=parameter_count(shape, vocab_size),
    )
    result = run_job(
        config,
        lambda: ZeroEngine(module, config, world),
        job,
        world,
        made_from=made_from(config),
        params={
            "task.labels": len(task.labels),
            "task.train_examples": len(sets["train"]),
            "parallel.world_size": world.size,
        },
        inputs=[
            DatasetInput(f"{config.task.name}/{split}", task.digest, config.task.path, context)
            for split, context in (("train", "training"), ("validation", "validation"), ("test", "evaluation"))
        ],
        after=lambda engine: _test(engine, sets["test"], task, config),
    )
    metrics = result["metrics"]
    say(
        f"{config.run.name}: test accuracy {metrics['test/accuracy']:.4f} +- {metrics['test/stderr']:.4f} "
        f"({len(sets['test']):,} examples; the most frequent label alone gives {metrics['test/majority']:.4f})"
    )
    distributed.shutdown()
    return result


def _test(engine: Engine, test: Examples, task: Task, config: FinetuneConfig) -> dict[str, float]:
    """Accuracy on the test set with its standard error sqrt(p (1 - p) / n); collective."""
    metrics = classification(validate(engine, test, config.train.micro_batch))
    accuracy = metrics["accuracy"]
    return {
        "test/loss": metrics["loss"],
        "test/accuracy": accuracy,
        "test/stderr": math.sqrt(accuracy * (1 - accuracy) / len(test)),
        "test/majority": task.majority("test"),
    }
