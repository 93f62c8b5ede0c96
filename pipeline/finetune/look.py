"""A look at the task of a configuration, without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.config.finetune import FinetuneConfig
from pipeline.finetune.explore import explore
from pipeline.finetune.origin import Origin
from pipeline.finetune.task import Task


def look(config: FinetuneConfig, out: Path, say: Callable[[str], None]) -> list[str]:
    """Measure the task as the model will read it, and write a page; see `explore`.

    Args:
        config: names the task and, for its tokenizer and context, what fine-tuning starts from.
        out: where the page is written.
        say: is told the warnings.

    Raises:
        UserError: the task or what it starts from cannot be used; `out` is a folder.
    """
    if out.is_dir():
        raise UserError("this is a folder", where=str(out), fix="name a file in it, such as task.html")
    origin = Origin.open(config.init.checkpoint, config.task.dropout)
    tokenizer = Tokenizer(origin.tokenizer, str(origin.folder))
    return explore(Task.load(config.task, say), tokenizer, origin.shape.sequence_length, out, say)
