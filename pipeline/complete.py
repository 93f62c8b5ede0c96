"""Whether a run is complete already: cheap to ask, without torch.

A run is complete if its `result.json` was written by this very configuration from these very inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep import store
from data_prep.errors import UserError
from data_prep.shards import DatasetManifest
from pipeline.checkpoint.foreign import model_digest
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig, RunConfig
from pipeline.data.sources import open_data
from pipeline.evaluate.checkpoints import checkpoints_in
from pipeline.evaluate.suite.compare import examples_digest
from pipeline.evaluate.suite.sets import suite_digest
from pipeline.runs import RunFolder

TASK_SPLITS = ("train", "validation", "test")

AnyConfig = PretrainConfig | FinetuneConfig | EvaluateConfig


def run_folder(run: RunConfig) -> RunFolder:
    """Where a run lives."""
    return RunFolder(Path(run.dir) / run.name)


def _sha256_of(path: str, field: str) -> str:
    if not store.exists(path):
        raise UserError("no such task file", where=path, fix=f"make the task, or correct {field}")
    return store.sha256_of(path)


def task_digest(folder: str) -> str:
    """sha256 (hex) over the files of a labelled task.

    Raises:
        UserError: a file is missing.
    """
    files = {split: store.join(folder, f"{split}.jsonl") for split in TASK_SPLITS}
    return store.digest({split: _sha256_of(path, "task.path") for split, path in files.items()})


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


def made_from(config: AnyConfig) -> str:
    """Digest of all that a run reads.

    Raises:
        UserError: a dataset, checkpoint or task is not there.
    """
    if isinstance(config, PretrainConfig):
        return open_data(config.data.path).digest
    if isinstance(config, FinetuneConfig):
        checkpoint = CheckpointManifest.load(Path(config.init.checkpoint).resolve())
        return store.digest({"checkpoint": checkpoint.digest, "task": task_digest(config.task.path)})
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
