"""A pretraining run from its configuration to its result."""

from __future__ import annotations

import math
from typing import Any

from data_prep.configfile import resolved
from data_prep.mixture import BLOCK, expected_epochs, quotas
from pipeline import distributed
from pipeline.complete import made_from, result_of
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import FixedWindows, PackedWindows
from pipeline.data.sources import TrainingData, open_data
from pipeline.distributed import on_main
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.model.sizes import flops_per_token, parameter_count
from pipeline.tracking import DatasetInput
from pipeline.train.metrics import language_model
from pipeline.train.session import run_job, say_on
from pipeline.train.trainer import Job


def model_facts(config: PretrainConfig, vocab_size: int) -> dict[str, Any]:
    """Shape of the model as checkpoints record it."""
    return {**resolved(config.model), "vocab_size": vocab_size}


def mixture_lines(data: TrainingData, held_out: FixedWindows, tokens: int) -> list[str]:
    """What training on so many tokens will read of each source of a mixture; nothing for a single dataset."""
    if len(data.sources) == 1:
        return []
    sizes = [source.manifest.splits["train"].tokens for source in data.sources]
    epochs = expected_epochs(tokens, data.weights, sizes)
    parts = zip(data.sources, quotas(data.weights), epochs, held_out.counts, strict=True)
    return [
        f"  {source.name}: weight {source.weight:g}, {quota} of every {BLOCK} samples ({100 * quota / BLOCK:.2f} %), "
        f"{often:.3g} epochs; {windows:,} of the validation windows"
        for source, quota, often, windows in parts
    ]


def pretrain(config: PretrainConfig) -> dict[str, Any]:
    """Train, or continue, or recognise as complete; returns the content of `result.json`.

    Raises:
        UserError: the dataset, a checkpoint or a setting cannot be used.
    """
    done = result_of(config)
    if done is not None:
        return done
    world = distributed.init()
    say = say_on(world)
    length = config.model.sequence_length
    data = open_data(config.data.path)
    vocab_size = data.vocab_size
    if config.data.verify:
        on_main(world, data.verify)
    samples = PackedWindows(data, length, config.run.seed)
    held_out = FixedWindows(data, length, config.validation.tokens)
    total_steps = math.ceil(config.train.tokens / (config.train.global_batch * length))
    entropy, tokens_per_byte = held_out.unigram_entropy, held_out.tokens_per_byte
    module = GPT(config.model, vocab_size)
    initialize(module, config.model, config.run.seed)
    n_params = parameter_count(config.model, vocab_size)
    say(
        f"{config.run.name}: {n_params:,} parameters, {world.size} ranks, ZeRO-{config.parallel.zero_stage}, "
        f"{config.precision}; {total_steps:,} steps of {config.train.global_batch} x {length} tokens from "
        f"{samples.windows:,} windows "
        f"({sum(source.manifest.splits['train'].tokens for source in data.sources):,} tokens)"
    )
    for line in mixture_lines(data, held_out, total_steps * config.train.global_batch * length):
        say(line)
    job = Job(
        kind="pretrain",
        tokenizer=data.tokenizer,
        model=model_facts(config, vocab_size),
        samples=samples,
        validation=held_out,
        total_steps=total_steps,
        metrics=lambda sums: language_model(sums, tokens_per_byte),
        lineage=data.lineage,
    )
    result = run_job(
        config,
        module,
        job,
        world,
        made_from=made_from(config),
        params={
            "model.parameters": n_params,
            "model.flops_per_token": flops_per_token(config.model, vocab_size),
            "model.vocab_size": vocab_size,
            "data.unigram_entropy": round(entropy, 6),
            "parallel.world_size": world.size,
        },
        inputs=[
            DatasetInput(f"{source.name}/{split}", source.manifest.digest, source.folder, context)
            for source in data.sources
            for split, context in (("train", "training"), ("validation", "validation"))
        ],
    )
    loss = result["metrics"]["val/loss"]
    say(
        f"validation loss {loss:.4f} nats per token; unigram entropy of the same split {entropy:.4f}: "
        + (f"{entropy - loss:.4f} below" if loss < entropy else "NOT below, train longer")
    )
    distributed.shutdown()
    return result
