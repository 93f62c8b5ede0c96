"""Which files a suite reads, and whether they are there; without torch."""

from __future__ import annotations

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.evaluate_suite import HeuristicTask, LastWordTask, PromptedTask, SetFiles, SuiteConfig, Task
from pipeline.evaluate.suite.formats import files_of


def sets_of(task: Task) -> list[SetFiles]:
    """All sets that a task reads."""
    sets = [task.data]
    if isinstance(task, PromptedTask) and task.shots.data is not None:
        sets.append(task.shots.data)
    if isinstance(task, HeuristicTask):
        sets.append(task.tuning)
    if isinstance(task, LastWordTask) and task.stop_words is not None:
        sets.append(SetFiles(path=task.stop_words, format="text"))
    return sets


def task_files(config: SuiteConfig, name: str) -> list[str]:
    """All files that a task reads, whether they are there or not."""
    task = config.definitions[name]
    return [file for one in sets_of(task) for file in files_of(config.root, one)]


def missing_files(config: SuiteConfig, name: str) -> list[str]:
    """Those that are not there."""
    return [file for file in task_files(config, name) if not store.exists(file)]


def present_tasks(config: SuiteConfig) -> tuple[list[str], dict[str, str]]:
    """(tasks to score, those left out -> first missing file).

    Raises:
        UserError: a file is missing and `missing` is not "skip", or nothing is left.
    """
    left_out = {}
    for name in config.tasks:
        gone = missing_files(config, name)
        if gone:
            left_out[name] = gone[0]
            about = config.definitions[name].about
            if config.missing == "error":
                source = f" (from {about.source})" if about.source else ""
                raise UserError(
                    f"the task {name} needs this file, which is not there",
                    where=gone[0],
                    fix=f"get {about.title}{source}, licence {about.licence}; or leave the task out, or set "
                    "suite.missing=skip",
                )
    present = [name for name in config.tasks if name not in left_out]
    if not present:
        raise UserError("none of the tasks has its files", where=f"suite.root, {config.root}", fix="correct it")
    return present, left_out


def suite_digest(config: SuiteConfig) -> str:
    """sha256 (hex) over all files of the tasks that are there.

    Raises:
        UserError: see `present_tasks`.
    """
    present, left_out = present_tasks(config)
    return store.digest({"tasks": {name: task_digest(config, name) for name in present}, "left out": sorted(left_out)})


def task_digest(config: SuiteConfig, name: str) -> str:
    """sha256 (hex) over what a task is and the files it reads; published numbers beside it do not count."""
    definition = config.definitions[name].model_dump(mode="json", exclude={"references", "about"})
    files = [store.sha256_of(file) for file in task_files(config, name)]
    return store.digest({"definition": definition, "files": files, "limit": config.limit})
