"""Tasks of EleutherAI's lm-evaluation-harness on a checkpoint.

Texts are scored by the harness's own conventions, so that the numbers compare with those that others publish: a
context is not preceded by <|endoftext|> unless it is empty, and each document of a rolling perplexity is.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from data_prep.errors import UserError
from data_prep.progress import ProgressBar
from pipeline.config.schema import HarnessConfig
from pipeline.evaluate.model import Scorer, Window, windows_of
from pipeline.model.loss import IGNORE

if importlib.util.find_spec("lm_eval") is None:
    raise UserError("lm-evaluation-harness is not installed", where="harness", fix="run `pip install -e '.[harness]'`")
# Read once, when the packages are imported: a task whose data is not here fails instead of downloading it.
for _variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("DISABLE_MULTIPROC", "1")  # resample in this process: forks of one with torch threads may hang

import datasets  # noqa: E402
from lm_eval.api.model import TemplateLM  # noqa: E402
from lm_eval.evaluator import evaluate  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

FEWSHOT_SEED = 1234
"""The harness's own default."""
_RESAMPLES = 100
"""For standard errors that have no closed form."""
_NOT_IN_MLFLOW = re.compile(r"[^A-Za-z0-9_./ -]")
_Pair = tuple[tuple[str, str], list[int], list[int]]


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """A `Scorer` as the harness sees it."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self._scorer, self._tokenizer = scorer, scorer.tokenizer
        self.max_length = scorer.sequence_length

    @property
    def eot_token_id(self) -> int:
        """Id of <|endoftext|>."""
        return self._tokenizer.eot_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text; none is added."""
        return self._tokenizer.encode(string)

    def _loglikelihood_tokens(self, requests: Sequence[_Pair], **_: Any) -> list[tuple[float, bool]]:
        windows = []
        for number, (texts, before, ids) in enumerate(requests):
            if len(ids) > self.max_length:
                raise UserError(
                    f"a continuation of {len(ids):,} tokens does not fit into the model's {self.max_length:,}",
                    where=f"harness, {texts[1][:40]!r}...",
                    fix="leave the task out, or write it for a rolling log-likelihood",
                )
            both, targets = [*before, *ids], [IGNORE] * (len(before) - 1) + ids
            windows.append(Window(both[:-1][-self.max_length :], targets[-self.max_length :], number))
        windows.sort(key=lambda window: -len(window.tokens))  # little padding
        found = [(0.0, True)] * len(requests)
        with ProgressBar("harness", len(windows), "continuations") as bar:
            for done, (owner, nll, greedy) in enumerate(self._scorer.nll_and_greedy(windows), 1):
                found[owner] = (-nll, greedy)
                bar.update(done)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts; each token has as much context before it as fits."""
        found = [0.0] * len(requests)
        texts = (self.tok_encode(request.args[0]) for request in requests)
        windows = (
            window
            for number, ids in enumerate(texts)
            for window in windows_of(ids, self.eot_token_id, self.max_length, self.max_length, number)
        )
        with ProgressBar("harness", len(requests), "texts") as bar:
            for owner, nll in self._scorer.nll(windows):
                found[owner] -= nll
                bar.update(owner + 1)
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Refused; `harness` names the task before it comes to this."""
        raise NotImplementedError("generation")


def harness(scorer: Scorer, config: HarnessConfig) -> dict[str, float]:
    """Score the tasks.

    Returns:
        "<task>/<metric>" -> value, and "<task>/<metric>_stderr" where the harness gives one. A filter other than
        "none" joins the metric's name with a hyphen.

    Raises:
        UserError: a task is unknown, cannot be loaded, or asks for generated text.
    """
    with tempfile.TemporaryDirectory() as cache:
        datasets.config.HF_DATASETS_CACHE = cache
        loaded = _or_user_error(
            config, lambda: TaskManager(include_path=config.include_path, include_defaults=False).load(config.tasks)
        )
        for name, task in loaded["tasks"].items():
            if task.OUTPUT_TYPE == "generate_until":
                raise UserError(f"the task {name} generates text, which is not supported", where="harness.tasks")
            task.set_fewshot_seed(FEWSHOT_SEED)
        results = evaluate(
            HarnessModel(scorer), loaded, limit=config.limit, bootstrap_iters=_RESAMPLES, log_samples=False
        )["results"]
    return {
        _NOT_IN_MLFLOW.sub("_", f"{task}/{metric}" + ("" if chosen == "none" else f"-{chosen}")): float(value)
        for task, values in results.items()
        for metric, comma, chosen in (key.partition(",") for key in values)
        if comma and isinstance(value := values[f"{metric},{chosen}"], int | float)
    }


def _or_user_error(config: HarnessConfig, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # whatever a task's YAML, Python helper or data file can raise
        reason = " ".join(str(error).split())[:300] or repr(error)
        raise UserError(
            f"cannot load the tasks {config.tasks} ({type(error).__name__}: {reason})",
            where=config.include_path,
            fix="correct harness.tasks, or the task's YAML and its data files",
        ) from None
