"""A pretraining run from its configuration to its result."""

from __future__ import annotations

import math
from typing import Any

from data_prep import store
from data_prep.configfile import resolved
from data_prep.shards import TOKENIZER, DatasetManifest, TokenSplit, unigram_entropy
from pipeline import distributed
from pipeline.complete import made_from, result_of
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import FixedWindows, PackedWindows
from pipeline.distributed import on_main
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.model.sizes import flops_per_token, parameter_count
from pipeline.tracking import DatasetInput
from pipeline.train.metrics import language_model
from pipeline.train.session import run_job, say_on
from pipeline.train.trainer import Job


def model_facts(config: PretrainConfig, manifest: DatasetManifest) -> dict[str, Any]:
    """Shape of the model as checkpoints record it."""
    return {**resolved(config.model), "vocab_size": manifest.vocab_size}


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
    folder, length = config.data.path, config.model.sequence_length
    manifest = DatasetManifest.load(folder)
    if config.data.verify:
        on_main(world, lambda: manifest.verify(folder))
    samples = PackedWindows(folder, manifest, length, config.run.seed)
    held_out = FixedWindows(folder, manifest, length, config.validation.tokens)
    total_steps = math.ceil(config.train.tokens / (config.train.global_batch * length))
    entropy = unigram_entropy(TokenSplit(folder, manifest, "validation").counts(manifest.vocab_size))
    info = manifest.splits["validation"]
    tokens_per_byte = info.tokens / info.text_bytes
    module = GPT(config.model, manifest.vocab_size)
    initialize(module, config.model, config.run.seed)
    n_params = parameter_count(config.model, manifest.vocab_size)
    say(
        f"{config.run.name}: {n_params:,} parameters, {world.size} ranks, ZeRO-{config.parallel.zero_stage}, "
        f"{config.precision}; {total_steps:,} steps of {config.train.global_batch} x {length} tokens from "
        f"{samples.windows:,} windows ({manifest.splits['train'].tokens:,} tokens)"
    )
    job = Job(
        kind="pretrain",
        tokenizer=store.read_bytes(store.join(folder, TOKENIZER)),
        model=model_facts(config, manifest),
        samples=samples,
        validation=held_out,
        total_steps=total_steps,
        metrics=lambda sums: language_model(sums, tokens_per_byte),
        lineage={**manifest.lineage, "shards": manifest.digest},
    )
    result = run_job(
        config,
        module,
        job,
        world,
        made_from=made_from(config),
        params={
            "model.parameters": n_params,
            "model.flops_per_token": flops_per_token(config.model, manifest.vocab_size),
            "model.vocab_size": manifest.vocab_size,
            "data.unigram_entropy": round(entropy, 6),
            "parallel.world_size": world.size,
        },
        inputs=[
            DatasetInput(f"{manifest.name}/{split}", manifest.digest, folder, context)
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
