"""Tasks of EleutherAI's lm-evaluation-harness on a checkpoint."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from data_prep.errors import UserError
from pipeline.config.schema import HarnessConfig
from pipeline.evaluate.harness_model import WebtextLM
from pipeline.evaluate.model import Scorer

FEWSHOT_SEED = 1234
"""The harness's own default."""
_RESAMPLES = 100
"""For standard errors that have no closed form."""
_SETTINGS = ("output_type", "doc_to_text", "doc_to_target", "doc_to_choice", "target_delimiter", "fewshot_delimiter",
             "generation_kwargs")  # fmt: skip
_NOT_IN_MLFLOW = re.compile(r"[^A-Za-z0-9_./ -]")


def harness(scorer: Scorer, config: HarnessConfig) -> tuple[dict[str, float], dict[str, Any]]:
    """Score the tasks.

    Returns:
        The scores, "<task>/<metric>" -> value, and "<task>/<metric>_stderr" where the harness gives one; a filter other
        than "none" joins the metric's name with a hyphen; "truncated" -> contexts that were cut on the left. And what
        makes them what they are: the harness's version and seed, each task's version, examples, prompt and decoding.

    Raises:
        UserError: a task is unknown or cannot be loaded, or a setting of its generation is not supported.
    """
    import datasets  # after `harness_model` has set what the packages read when they are imported
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as cache:
        datasets.config.HF_DATASETS_CACHE = cache
        loaded = _or_user_error(
            config, lambda: TaskManager(include_path=config.include_path, include_defaults=False).load(config.tasks)
        )
        for task in loaded["tasks"].values():
            task.set_fewshot_seed(FEWSHOT_SEED)
        before = scorer.truncated
        found = evaluate(
            WebtextLM(scorer=scorer), loaded, limit=config.limit, bootstrap_iters=_RESAMPLES, log_samples=False
        )
    scores = {
        _NOT_IN_MLFLOW.sub("_", f"{task}/{metric}" + ("" if chosen == "none" else f"-{chosen}")): float(value)
        for task, values in found["results"].items()
        for metric, comma, chosen in (key.partition(",") for key in values)
        if comma and isinstance(value := values[f"{metric},{chosen}"], int | float)
    }
    definition = {
        "harness": f"lm-evaluation-harness {version('lm_eval')}",
        "fewshot_seed": FEWSHOT_SEED,
        "limit": config.limit,
        "prefix": "<|endoftext|> where the context is empty",
        "tasks": {task: _definition(found, task) for task in found["configs"]},
    }
    return {**scores, "truncated": float(scorer.truncated - before)}, definition


def _definition(found: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Of a task; what of it is Python code is left out."""
    settings = {name: value for name, value in found["configs"][task].items() if name in _SETTINGS}
    return {
        "version": found["versions"].get(task),
        "shots": found["n-shot"].get(task),
        "examples": found["n-samples"].get(task, {}).get("effective"),
        **{name: value for name, value in settings.items() if isinstance(value, str | dict | bool)},
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
