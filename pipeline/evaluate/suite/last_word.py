"""The last word of a passage (LAMBADA, Paperno et al. 2016), by the three definitions that published numbers have.

`accuracy_token`: the last BPE token is the likeliest one (GPT-2's own numbers, 45.99 % for 117M). `accuracy`: all
tokens of the last word are (lm-evaluation-harness and others, 32.56 % of the same model). `accuracy_filtered`: the
likeliest word that is no stop word is the last word (GPT-2 3.3).
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Iterator
from typing import Any

from data_prep import store
from data_prep.errors import UserError
from data_prep.progress import ProgressBar
from pipeline.config.evaluate_suite import LastWordTask
from pipeline.evaluate.continuation import continuation_ids, windows_from
from pipeline.evaluate.model import Scorer, Window
from pipeline.evaluate.statistics import mean, perplexity_of, proportion
from pipeline.evaluate.suite.prompts import Questions
from pipeline.evaluate.suite.scores import Score, TaskResult, referenced

_WORD = re.compile(r"\s*([^\s" + re.escape(string.punctuation.replace("'", "").replace("-", "")) + r"]+)")


def read_stop_words(path: str) -> frozenset[str]:
    """Words of a file, one a line, in lower case.

    Raises:
        UserError: there is none.
    """
    if not store.exists(path):
        raise UserError("no such list of stop words", where=path, fix="get it, or leave stop_words out")
    return frozenset(store.read_bytes(path).decode("utf-8").lower().split())


def first_word(text: str) -> str | None:
    """The word that a continuation begins with, None if it does not begin with one."""
    match = _WORD.match(text)
    return match[1] if match else None


def likeliest_word(hypotheses: list[tuple[str, float]], stop_words: Collection[str]) -> str | None:
    """Of continuations with their log-probabilities the first word of the best that does not begin with a stop word."""
    words = [(score, word) for text, score in hypotheses if (word := first_word(text)) is not None]
    allowed = [(score, word) for score, word in words if word.lower() not in stop_words]
    return max(allowed)[1] if allowed else None


def score_last_words(scorer: Scorer, task: LastWordTask, questions: Questions) -> TaskResult:
    """Accuracy by each definition, and perplexity of the last word and of the last token."""
    tokenizer = scorer.tokenizer
    passages: list[tuple[list[int], int]] = []
    for number in questions.asked:
        row = questions.pool[number]
        passages.append(continuation_ids(tokenizer, row["context"], f" {row['answers'][0]}"))

    def windows() -> Iterator[Window]:
        for number, (ids, first) in enumerate(passages):
            yield from windows_from(ids, first, tokenizer.eot_id, scorer.sequence_length, 2 * number)
            if len(ids) - first > 1:  # else word and token are one
                yield from windows_from(ids, len(ids) - 1, tokenizer.eot_id, scorer.sequence_length, 2 * number + 1)

    nll = [[0.0, 0.0] for _ in passages]
    greedy = [[True, True] for _ in passages]
    with ProgressBar(questions.name, len(passages), "passages") as bar:
        for owner, value, hit in scorer.nll_and_greedy(windows()):
            nll[owner // 2][owner % 2] += value
            greedy[owner // 2][owner % 2] &= hit
            bar.update(owner // 2 + 1)
    for number, (ids, first) in enumerate(passages):
        if len(ids) - first == 1:
            nll[number][1], greedy[number][1] = nll[number][0], greedy[number][0]
    definition: dict[str, Any] = {
        "version": task.version,
        "prefix": "<|endoftext|>",
        "tokens_of_last_words": sum(len(ids) - first for ids, first in passages) / len(passages),
    }

    result = TaskResult()
    for metric, column, main in (("accuracy", 0, True), ("accuracy_token", 1, False)):
        scored = "last word, every token greedy" if main else "last BPE token, the word's other tokens given"
        result.scores.append(
            Score(
                questions.name,
                "",
                metric,
                proportion([row[column] for row in greedy]),
                {**definition, "scored": scored},
                references=referenced(task.references, metric),
                main=main,
            )
        )
    for metric, column in (("ppl_word", 0), ("ppl_token", 1)):
        result.scores.append(
            Score(
                questions.name,
                "",
                metric,
                perplexity_of(mean([row[column] for row in nll])),
                {**definition, "unit": "last word" if column == 0 else "last BPE token"},
                references=referenced(task.references, metric),
                main=column == 0,
            )
        )
    result.examples = [
        {
            "id": number,
            "variant": "",
            "correct": greedy[i][0],
            "correct_token": greedy[i][1],
            "nll": nll[i][0],
            "nll_token": nll[i][1],
        }
        for i, number in enumerate(questions.asked)
    ]
    return result
