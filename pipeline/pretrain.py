"""A pretraining run from its configuration to its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.mixture import BLOCK, expected_epochs, quotas
from pipeline import distributed
from pipeline.complete import made_from, result_of
from pipeline.config.schema import PretrainConfig
from pipeline.data.batches import FixedWindows, PackedWindows
from pipeline.data.sources import TrainingData, open_data
from pipeline.data.verified import FOLDER as VERIFIED
from pipeline.data.verified import verify
from pipeline.distributed import World, on_main
from pipeline.model.sizes import flops_per_token, parameter_count
from pipeline.tracking import DatasetInput
from pipeline.train.batch_schedule import BatchSchedule
from pipeline.train.build import build_engine
from pipeline.train.job import Job
from pipeline.train.metrics import language_model
from pipeline.train.session import join, run_job, say_on
from pipeline.train.validation import validate

if TYPE_CHECKING:
    from pipeline.evaluate.in_loop import InLoopSuite
    from pipeline.train.samples import TextSamples


def model_facts(config: PretrainConfig, vocab_size: int) -> dict[str, Any]:
    """Shape of the model as checkpoints record it."""
    return config.model.facts(vocab_size)


def train_tokens(config: PretrainConfig, data: TrainingData, samples: PackedWindows) -> int:
    """Tokens to train on: as told, or those of the windows of so many epochs.

    Raises:
        UserError: epochs of a mixture, whose sources have epochs of their own.
    """
    if config.train.tokens is not None:
        return config.train.tokens
    assert config.train.epochs is not None
    if len(data.sources) > 1:
        raise UserError(
            "the sources of a mixture come to their ends at different times: it has no epochs",
            where="config, train.epochs",
            fix="set train.tokens instead",
        )
    return math.ceil(config.train.epochs * samples.windows) * config.model.sequence_length


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


def text_samples(config: PretrainConfig, data: TrainingData) -> TextSamples | None:
    """The text samples of a configuration."""
    if config.samples is None:
        return None
    from pipeline.train.samples import TextSamples  # the tokenizer's library only where it is needed

    return TextSamples(config.samples, data.tokenizer, config.model.sequence_length)


def in_loop_suite(config: PretrainConfig, data: TrainingData, world: World) -> InLoopSuite | None:
    """The evaluation sets that are scored while training; collective.

    Raises:
        UserError: they cannot be.
    """
    if config.suite is None:
        return None
    from pipeline.evaluate.in_loop import InLoopSuite  # evaluation only where it is wanted

    suite = InLoopSuite(config.suite, config.model, data.tokenizer, data.vocab_size, world)
    say = say_on(world)
    for name, file in suite.left_out.items():
        say(f"  suite: {name} left out, {file} is not there")
    if config.suite.limit is not None:
        say(f"  suite: LIMITED to {config.suite.limit} examples of each set: the scores are no result")
    return suite


def suite_input(config: PretrainConfig) -> list[DatasetInput]:
    """The sets of `in_loop_suite` for the tracker."""
    if config.suite is None:
        return []
    from pipeline.evaluate.suite.sets import suite_digest

    return [DatasetInput("suite", suite_digest(config.suite), config.suite.root, "evaluation")]


def pretrain(config: PretrainConfig) -> dict[str, Any]:
    """Train, or continue, or recognise as complete; returns the content of `result.json`.

    Raises:
        UserError: the dataset, a checkpoint or a setting cannot be used.
        RunEnd: the run ended early.
    """
    done = result_of(config)
    if done is not None:
        return done
    world = join(config)
    say = say_on(world)
    length = config.model.sequence_length
    data = open_data(config.data.path)
    vocab_size = data.vocab_size
    config.parallel.check_ranks(config.precision, world.size, world.device.type, config.model.padded(vocab_size))
    if config.data.verify:
        on_main(world, lambda: verify(data, Path(config.run.dir) / VERIFIED, say))
    samples = PackedWindows(data, length, config.run.seed)
    held_out = FixedWindows(data, length, config.validation.tokens)
    tokens, ramp = train_tokens(config, data, samples), config.train.batch_ramp
    batches = BatchSchedule.of(config.train, config.parallel.data_parallel(world.size), length, ramp)
    total_steps, consumed = batches.length(tokens)
    at_most = "at most " if ramp is not None else ""
    entropy, tokens_per_byte = held_out.unigram_entropy, held_out.tokens_per_byte
    n_params, flops = parameter_count(config.model, vocab_size), flops_per_token(config.model, vocab_size)
    say(
        f"{config.run.name}: {n_params:,} parameters, {world.size} ranks, ZeRO-{config.parallel.zero_stage}, "
        f"{config.precision}; {total_steps:,} steps of {at_most}{config.train.global_batch} x {length} tokens from "
        f"{samples.windows:,} windows "
        f"({sum(source.manifest.splits['train'].tokens for source in data.sources):,} tokens)"
    )
    for line in mixture_lines(data, held_out, consumed):
        say(line)

    def metrics(sums: Mapping[str, float]) -> dict[str, float]:
        return language_model(sums, tokens_per_byte)

    job = Job(
        kind="pretrain",
        tokenizer=data.tokenizer,
        model=model_facts(config, vocab_size),
        samples=samples,
        validate=lambda engine: metrics(validate(engine, held_out, config.train.micro_batch)),
        units=tokens,
        metrics=metrics,
        lineage=data.lineage,
        parameters=n_params,
        batch_ramp=ramp,
        skip=tuple(config.data.skip),
        allow_changed=config.data.allow_changed,
        flops_per_unit={"mfu": flops, "mfu_full_attention": flops_per_token(config.model, vocab_size, "full")},
        texts=text_samples(config, data),
        probe=in_loop_suite(config, data, world),
    )
    result = run_job(
        config,
        lambda: build_engine(config, vocab_size, world),
        job,
        world,
        made_from=made_from(config),
        params={
            "model.parameters": n_params,
            "model.flops_per_token": flops,
            "model.vocab_size": vocab_size,
            "data.unigram_entropy": round(entropy, 6),
            "parallel.world_size": world.size,
        },
        inputs=[
            DatasetInput(f"{source.name}/{split}", source.manifest.digest, source.folder, context)
            for source in data.sources
            for split, context in (("train", "training"), ("validation", "validation"))
        ]
        + suite_input(config),
    )
    loss = result["metrics"]["val/loss"]
    say(
        f"validation loss {loss:.4f} nats per token; unigram entropy of the same split {entropy:.4f}: "
        + (f"{entropy - loss:.4f} below" if loss < entropy else "NOT below, train longer")
    )
    distributed.shutdown()
    return result
