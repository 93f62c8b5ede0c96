"""Runs tasks in this process, one after the other: for measuring, where the start of processes would count too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from data_prep.executor import StageStep


class InlineExecutor:
    """Runs the given tasks of a stage here; the arguments are those of every executor.

    Args:
        step: the stage to run.
        ranks: task numbers still to be done.
        workers: not used: one task runs at a time.
        logging_dir: not used: what fails is told to the caller.
        on_poll: called after each task with the number of those that ended.
    """

    def __init__(
        self, step: StageStep, ranks: Sequence[int], workers: int, logging_dir: str, on_poll: Callable[[int], None]
    ) -> None:
        self._step, self._ranks, self._on_poll = step, list(ranks), on_poll

    def run(self) -> dict[int, Exception]:
        """Run all; returns task number -> error of those that failed."""
        failed: dict[int, Exception] = {}
        for ended, rank in enumerate(self._ranks, 1):
            try:
                self._step.run(None, rank)
            except Exception as error:
                failed[rank] = error
            self._on_poll(ended)
        return failed
