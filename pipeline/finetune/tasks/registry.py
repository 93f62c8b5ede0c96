"""The registered tasks by name."""

from __future__ import annotations

import difflib

from data_prep.errors import UserError
from pipeline.finetune.tasks import choices, pairs, single
from pipeline.finetune.tasks.form import Registered

TASKS: dict[str, Registered] = {
    "imdb": single.IMDB,
    "sst-2": single.SST2,
    "cola": single.COLA,
    "ag-news": single.AG_NEWS,
    "nsmc": single.NSMC,
    "qqp": pairs.QQP,
    "mrpc": pairs.MRPC,
    "sts-b": pairs.STSB,
    "korean-pairs": pairs.KOREAN_PAIRS,
    "rte": pairs.RTE,
    "qnli": pairs.QNLI,
    "mnli": pairs.MNLI,
    "snli": pairs.SNLI,
    "scitail": pairs.SCITAIL,
    "race": choices.RACE,
    "story-cloze": choices.STORY_CLOZE,
}


def registered(name: str) -> Registered:
    """The task of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? or " if near else ""
        raise UserError(
            f"no registered task is called {name!r} (there are {', '.join(sorted(TASKS))})",
            where="task.name",
            fix=f"{hint}describe your own data under task.table",
        )
    return TASKS[name]
