"""The engine of a pretraining run, as its configuration asks."""

from __future__ import annotations

from pipeline.config.schema import PretrainConfig
from pipeline.distributed import World
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.train.engine import Engine
from pipeline.train.zero_engine import ZeroEngine


def build_engine(config: PretrainConfig, vocab_size: int, world: World) -> Engine:
    """An engine around the model with its initial weights, the same for every topology; collective.

    Args:
        config: with `parallel.pipeline` or `parallel.tensor` above 1 the model is cut up, else it is one module.
        vocab_size: number of token ids.
        world: this process among all.

    Raises:
        UserError: model, ranks and settings do not fit each other.
    """
    if config.parallel.model_parallel > 1:
        from pipeline.train.pipe_engine import PipeEngine

        return PipeEngine(config.model, vocab_size, config, world, config.kernels)
    module = GPT(config.model, vocab_size, config.kernels)
    initialize(module, config.model, config.run.seed)
    return ZeroEngine(module, config, world)
