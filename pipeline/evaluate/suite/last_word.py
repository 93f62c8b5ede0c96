"""The last word of a passage (LAMBADA, Paperno et al. 2016), by the three definitions that published numbers have.

`accuracy_token`: the last BPE token is the likeliest one (GPT-2's own numbers, 45.99 % for 117M). `accuracy`: all
tokens of the last word are (lm-evaluation-harness and others, 32.56 % of the same model). `accuracy_filtered`: the
likeliest word that is no stop word is the last word (GPT-2 3.3).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from data_prep import store
from data_prep.errors import UserError
from pipeline.config.evaluate_suite import LastWordTask, SetFiles
from pipeline.evaluate.continuation import continuation_ids, score_continuations
from pipeline.evaluate.generate import Decoding, generate
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.statistics import mean, perplexity_of, proportion
from pipeline.evaluate.suite.formats import place
from pipeline.evaluate.suite.prompts import Questions
from pipeline.evaluate.suite.scores import Score, TaskResult, referenced

_WORD_TOKENS = 4
"""Tokens of a hypothesis: the words that a beam begins with are hardly longer."""
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


def likeliest_word(words: Sequence[tuple[str, float]], stop_words: Collection[str]) -> str | None:
    """Of words with their log-probabilities the likeliest one that is no stop word, None if there is none."""
    allowed = [(score, word) for word, score in words if word.lower() not in stop_words]
    return max(allowed)[1] if allowed else None


def score_last_words(scorer: Scorer, task: LastWordTask, questions: Questions) -> TaskResult:
    """Accuracy by each definition, and perplexity of the last word and of the last token."""
    passages = [continuation_ids(scorer.tokenizer, row["context"], f" {row['answers'][0]}") for row in questions.rows]
    words = list(score_continuations(scorer, passages, questions.name))
    # The greedy test of the last token alone: the word's other tokens are context.
    last = list(score_continuations(scorer, [(ids, len(ids) - 1) for ids, _ in passages], f"{questions.name}, tokens"))
    definition: dict[str, Any] = {
        "version": task.version,
        "prefix": "<|endoftext|>",
        "contexts_cut": sum(len(ids) > scorer.sequence_length for ids, _ in passages),
        "tokens_of_last_words": sum(len(word.tokens) for word in words) / len(words),
    }
    hits = {
        "accuracy": ([one.greedy for one in words], "last word: all its tokens are the likeliest ones"),
        "accuracy_token": ([one.greedy for one in last], "last BPE token, with the word's other tokens given"),
    }
    filtered: list[bool] | None = None
    if task.stop_words is not None:
        stop_words = read_stop_words(place(questions.root, SetFiles(path=task.stop_words, format="text")))
        filtered = _filtered(scorer, task, questions, stop_words)
        hits["accuracy_filtered"] = (
            filtered,
            f"likeliest of {task.beam} words that is none of {len(stop_words)} stop words",
        )
    nats = {
        "ppl_word": ([-one.logprob for one in words], "last word"),
        "ppl_token": ([-one.logprob for one in last], "last BPE token"),
    }
    majority = max(Counter(row["answers"][0] for row in questions.rows).values()) / len(questions.rows)
    result = TaskResult()
    for metric, (right, scored) in hits.items():
        result.scores.append(
            Score(
                questions.name,
                "",
                metric,
                proportion(right),
                {**definition, "scored": scored},
                {} if metric == "accuracy_token" else {"majority": majority},
                references=referenced(task.references, metric, 0),
            )
        )
    for metric, (values, unit) in nats.items():
        result.scores.append(
            Score(
                questions.name,
                "",
                metric,
                perplexity_of(mean(values)),
                {**definition, "unit": unit},
                references=referenced(task.references, metric, 0),
            )
        )
    for i, number in enumerate(questions.asked):
        example = {"id": number, "variant": "", "correct": words[i].greedy, "correct_token": last[i].greedy}
        if filtered is not None:
            example["correct_filtered"] = filtered[i]
        result.examples.append({**example, "nll": -words[i].logprob, "nll_token": -last[i].logprob})
    return result


def _filtered(scorer: Scorer, task: LastWordTask, questions: Questions, stop_words: Collection[str]) -> list[bool]:
    """Whether the likeliest word that is no stop word is the last word.

    The words that are looked at are those that the hypotheses of a beam search begin with.
    """
    tokenizer = scorer.tokenizer
    prompts = tokenizer.encode_batch([row["context"] for row in questions.rows])
    decoding = Decoding(max_tokens=_WORD_TOKENS, beams=task.beam, length_alpha=0.0)
    found = generate(scorer, [[tokenizer.eot_id, *ids] for ids in prompts], decoding, title=f"{questions.name}, words")
    candidates = [
        list(dict.fromkeys(word for one in hypotheses if (word := first_word(one.text)) is not None))
        for hypotheses in found
    ]
    pairs = (
        continuation_ids(tokenizer, row["context"], f" {word}")
        for row, words in zip(questions.rows, candidates, strict=True)
        for word in words
    )
    scores = (one.logprob for one in score_continuations(scorer, pairs, f"{questions.name}, candidates"))
    return [
        likeliest_word([(word, next(scores)) for word in words], stop_words) == row["answers"][0]
        for row, words in zip(questions.rows, candidates, strict=True)
    ]
