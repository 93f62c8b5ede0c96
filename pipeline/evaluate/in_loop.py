"""A suite on a model that is being pretrained: zero-shot scores over updates (GPT-1 5, figure 2), as it trains.

The scorer gets a copy of its own of the fp32 weights, whole on every rank, and shares the work out among the ranks. So
every topology will do, training does not notice, and the scores are those that `launch/evaluate.py` gives for a
checkpoint of the same step.
"""

from __future__ import annotations

import psutil
import torch

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.gather import gather_weights
from pipeline.config.evaluate_suite import InLoopSuiteConfig
from pipeline.config.schema import ModelConfig
from pipeline.distributed import World, on_main, together
from pipeline.evaluate.loading import LoadedModel
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.ranks import Ranks
from pipeline.evaluate.suite.formats import read_rows, read_text
from pipeline.evaluate.suite.run import score_task
from pipeline.evaluate.suite.scores import Score
from pipeline.evaluate.suite.sets import present_tasks, sets_of
from pipeline.model.gpt import GPT
from pipeline.model.sizes import parameter_count
from pipeline.train.engine import Engine
from pipeline.train.probe import Probed


class InLoopSuite:
    """Scores the tasks of a suite that are there; made by all ranks together.

    Args:
        config: what is scored, and how often.
        model: shape of the model.
        tokenizer: content of the tokenizer.json.
        vocab_size: number of token ids.
        world: this process among all.

    Attributes:
        title: what is scored, for people.
        name: the same in names of metrics; what follows it is the name that an evaluation gives them.
        every: steps between scores.
        left_out: tasks that are not scored -> the file that is missing.

    Raises:
        UserError: a set is missing or damaged, or the copy of the weights cannot fit into memory (on every rank).
    """

    title, name = "zero-shot scores", "zero_shot"

    def __init__(
        self, config: InLoopSuiteConfig, model: ModelConfig, tokenizer: bytes, vocab_size: int, world: World
    ) -> None:
        self.every, self._config, self._vocab_size = config.every, config, vocab_size
        # Evaluation opens checkpoints so, too.
        self._model = model.model_copy(update={"dropout": 0.0})
        self._tokenizer = Tokenizer(tokenizer)
        self._ranks = Ranks(world.rank, world.size, world.device, leave=False)
        together(lambda: check_memory(4 * parameter_count(model, vocab_size), world.device))
        self._tasks, self.left_out = on_main(world, lambda: readable_tasks(config))

    def score(self, engine: Engine) -> Probed:
        """Scores of the weights as they are; collective, on ranks other than 0 nothing."""
        with torch.device("meta"):  # draws no random numbers
            model = GPT(self._model, self._vocab_size)
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        model.load_state_dict(gather_weights(engine.local_state(), shapes, self._ranks.device), assign=True)
        model = model.to(self._ranks.device).eval()  # an LSTM wants its weights in one piece there
        loaded = LoadedModel(model, self._tokenizer, self._vocab_size, digest="", lineage={})
        scorer = Scorer(loaded, self._config.batch_tokens, self._ranks)
        scores = together(lambda: self._scores(scorer))
        metrics = {f"{self.name}/{key}": value for score in scores for key, value in score.as_metrics().items()}
        return Probed(metrics, tuple(f"{self.name}/{score.key}" for score in scores if score.main))

    def _scores(self, scorer: Scorer) -> list[Score]:
        if not self._ranks.is_main:
            scorer.serve()
            return []
        with scorer:
            return [score for name in self._tasks for score in score_task(scorer, self._config, name).scores]


def readable_tasks(config: InLoopSuiteConfig) -> tuple[list[str], dict[str, str]]:
    """(tasks to score, those left out -> first missing file), after all their sets have been read.

    Raises:
        UserError: a set is missing or damaged: now, and not after hours of training.
    """
    present, left_out = present_tasks(config)
    for name in present:
        for one in sets_of(config.definitions[name]):
            if one.format == "text":
                read_text(config.root, one)
            else:
                read_rows(config.root, one)
    return present, left_out


def check_memory(needed: int, device: torch.device) -> None:
    """Raise `UserError` if so many bytes are more than all the memory that a device, or this machine, has."""
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        there = psutil.virtual_memory().total
    if needed > there:
        raise UserError(
            f"the scores need a copy of the weights on every rank, {needed / 2**30:.1f} GiB, "
            f"and {device} has {there / 2**30:.1f}",
            where="config, suite",
            fix="leave it out, and score the checkpoints with launch/evaluate.py",
        )
