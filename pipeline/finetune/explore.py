"""A look at a labelled task before it is trained on: what may spoil a result, as warnings and as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep import store
from data_prep.errors import to_write_in
from data_prep.tokenizer import Tokenizer
from pipeline.finetune.explore_page import render
from pipeline.finetune.measures import measure, warnings
from pipeline.finetune.task import Task


def explore(
    task: Task, tokenizer: Tokenizer, length: int, out: Path, say: Callable[[str], None] = lambda line: None
) -> list[str]:
    """Measure a task and write the page.

    Args:
        task: the task.
        tokenizer: of the pretrained model.
        length: its context in tokens.
        out: where the page is written, one file of HTML.
        say: is told the warnings and where the page is.

    Returns:
        The warnings.

    Raises:
        UserError: the context has no room for an example; the page cannot be written.
    """
    measures = measure(task, tokenizer, length)
    found = warnings(task, measures)
    with to_write_in(str(out.parent)):
        store.write_bytes(str(out), render(task, measures, found).encode())
    for warning in found:
        say(f"{task.name}: warning: {warning}")
    say(f"{task.name}: {len(found)} warnings; {out}")
    return found
