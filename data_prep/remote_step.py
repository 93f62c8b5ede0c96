"""A task on a machine that others manage: done in a process whose death is seen, its outcome read from files.

Ray and Slurm hand back neither errors nor who was killed; what a task leaves in its stage's folder says both.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable

from data_prep import failures, store
from data_prep.executor import LocalExecutor, StageStep
from data_prep.stage import MANIFESTS, Stage


class RemoteStep(StageStep):
    """Runs each of its tasks in a `LocalExecutor` of one worker, on whichever machine that is.

    Args:
        step: the stage and its tasks.
        logging_dir: folder for datatrove's task logs, the same as on one machine.
    """

    def __init__(self, step: StageStep, logging_dir: str) -> None:
        super().__init__(step.stage, step.tasks)
        self.logging_dir = logging_dir

    def guarded(self, task: int) -> Exception | None:
        """Do one task; returns its error, which it has also recorded."""
        parent = os.getppid()

        def on_poll(ended: int) -> None:
            if os.getppid() != parent:  # this task was given up, and may have been started elsewhere
                os._exit(1)

        step = StageStep(self.stage, self.tasks)
        preload = [type(self.stage).__module__]
        return LocalExecutor(step, [task], 1, self.logging_dir, on_poll, preload).run().get(task)

    def prepare(self, tasks: Iterable[int]) -> None:
        """Remove what an earlier run left of tasks that are to be done, so that what is there is of this one."""
        for task in tasks:
            failures.forget(self.stage.folder, task)
            store.remove_file(self.stage.manifest_path(self.tasks[task]))

    def outcome(self, task: int) -> Exception | None:
        """The error of a task that failed; None if it is complete.

        Raises:
            KeyError: it has not ended.
        """
        if store.exists(self.stage.manifest_path(self.tasks[task])):
            return None
        error = failures.load(self.stage.folder, task)
        if error is None:
            raise KeyError(task)
        return error


def ended(stage: Stage) -> set[int]:
    """The tasks of a stage that are complete or have failed, by two listings."""
    folders = (store.join(stage.folder, MANIFESTS), store.join(stage.folder, failures.FAILED))
    names = [posixpath.basename(path) for folder in folders for path in store.listing(folder)]
    return {int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit()}
