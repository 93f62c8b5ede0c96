"""Whether a run is complete already: cheap to ask, without torch.

A run is complete if its `result.json` was written by this very configuration from these very inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep import store
from data_prep.errors import UserError
from data_prep.shards import DatasetManifest
from pipeline.checkpoint.hf_folder import model_digest
from pipeline.config.features import FeaturesConfig
from pipeline.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig, RunConfig
from pipeline.data.sources import open_data
from pipeline.evaluate.checkpoints import checkpoints_in
from pipeline.evaluate.suite.compare import examples_digest
from pipeline.evaluate.suite.sets import suite_digest
from pipeline.finetune.task import task_digest
from pipeline.runs import RunFolder

AnyConfig = PretrainConfig | FinetuneConfig | FeaturesConfig | EvaluateConfig


def run_folder(run: RunConfig) -> RunFolder:
    """Where a run lives."""
    return RunFolder(Path(run.dir) / run.name)


def _sha256_of(path: str, field: str) -> str:
    if not store.exists(path):
        raise UserError("no such task file", where=path, fix=f"make the task, or correct {field}")
    return store.sha256_of(path)


def choice_digest(path: str) -> str:
    """sha256 (hex) of a multiple-choice file.

    Raises:
        UserError: it is missing.
    """
    return _sha256_of(path, "choice.path")


def harness_digest(folder: str) -> str:
    """sha256 (hex) over the files in a folder of harness tasks: YAMLs, their Python helpers, data kept beside them.

    Raises:
        UserError: there is no task YAML in it.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
        and not any(part[0] == "." or part == "__pycache__" for part in path.relative_to(folder).parts)
    }
    if not any(name.endswith(".yaml") for name in files):
        raise UserError("no task YAML here", where=folder, fix="correct harness.include_path")
    return store.digest({name: store.sha256_of(str(path)) for name, path in files.items()})


def _features_from(config: FeaturesConfig) -> dict[str, str]:
    if config.init is not None:
        return {"checkpoint": model_digest(config.init.checkpoint)}
    if config.vectors is None:
        return {}
    if config.vectors.dataset is not None:
        return {"dataset": DatasetManifest.load(config.vectors.dataset).digest}
    return {"vectors": _sha256_of(str(config.vectors.path), "vectors.path")}


def made_from(config: AnyConfig) -> str:
    """Digest of all that a run reads.

    Raises:
        UserError: a dataset, checkpoint or task is not there.
    """
    if isinstance(config, PretrainConfig):
        return open_data(config.data.path).digest
    if isinstance(config, FinetuneConfig):
        return store.digest({"checkpoint": model_digest(config.init.checkpoint), "task": task_digest(config.task)})
    if isinstance(config, FeaturesConfig):
        return store.digest({"task": task_digest(config.task), **_features_from(config)})
    inputs = [model_digest(path) for path in checkpoints_in(config.checkpoint) or [config.checkpoint]]
    if config.perplexity is not None:
        inputs.append(DatasetManifest.load(config.perplexity.path).digest)
    if config.choice is not None:
        inputs.append(choice_digest(config.choice.path))
    if config.harness is not None:
        inputs.append(harness_digest(config.harness.include_path))
    if config.suite is not None:
        inputs.append(suite_digest(config.suite))
    if config.against is not None:
        inputs.append(examples_digest(config.against))
    if config.memorization is not None:
        inputs.append(DatasetManifest.load(config.memorization.corpus).digest)
    return store.digest(inputs)


def result_of(config: AnyConfig) -> dict[str, Any] | None:
    """The content of `result.json` of a complete run, else None.

    Raises:
        UserError: a dataset, checkpoint or task is not there.
    """
    return run_folder(config.run).result(config, made_from(config))
