"""Written answers: closed-book questions, arithmetic, translation, summaries, reading comprehension."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.config.evaluate_suite import FreeFormTask
from pipeline.evaluate.continuation import Continuation, continuation_ids, score_continuations
from pipeline.evaluate.generate import Decoding, generate
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.statistics import Estimate, mean, proportion
from pipeline.evaluate.suite.prompts import Prompter, Questions, fitting, right
from pipeline.evaluate.suite.published import Row
from pipeline.evaluate.suite.scores import Score, TaskResult, referenced
from pipeline.evaluate.suite.text_metrics import (
    ACCEPTS,
    bleu,
    first_sentences,
    normalized,
    rouge,
    sentence_bleu,
    squad_f1,
)

_Estimates = dict[str, tuple[Estimate, dict[str, Any]]]
"""Metric -> (estimate, what else defines it)."""


def score_free_form(scorer: Scorer, task: FreeFormTask, questions: Questions) -> TaskResult:
    """The task's metrics for each number of solved examples and seed."""
    prompter = Prompter(task, questions)
    result = TaskResult()
    for count, seed, variant in questions.rounds():
        prompts, used = _prompts(scorer, task, prompter, questions, count, seed)
        forced = task.decoding.method == "forced"
        definition: dict[str, Any] = {
            "version": task.version,
            "shots": count,
            "shots_used_mean": sum(used) / len(used),
            "seed": seed if count else None,
            "prefix": "<|endoftext|>",
            "context": task.context,
            "decoding": {**task.decoding.model_dump(mode="json"), "max_tokens": _most_tokens(scorer, task)},
        }
        if forced:
            hits, cut = _forced(scorer, task, prompter, questions, prompts)
            examples: list[dict[str, Any]] = [{"correct": hit} for hit in hits]
            estimates: _Estimates = {"exact": (proportion(hits), {})}
        else:
            written, cut = _written(scorer, task, questions, prompts, seed)
            examples = [
                {"answer": right(row), "written": text} for row, text in zip(questions.rows, written, strict=True)
            ]
            estimates = _estimates(task, questions, written, examples)
        definition["contexts_cut"] = cut
        for number, (metric, (estimate, more)) in enumerate(estimates.items()):
            result.scores.append(
                Score(
                    questions.name,
                    variant,
                    metric,
                    estimate,
                    {**definition, **more},
                    _majority(metric, questions.rows, forced),
                    references=referenced(task.references, metric, count),
                    main=number == 0,
                )
            )
        for number, shots, example in zip(questions.asked, used, examples, strict=True):
            result.examples.append({"id": number, "variant": variant, "shots": shots, **example})
    return result


def _prompts(
    scorer: Scorer, task: FreeFormTask, prompter: Prompter, questions: Questions, count: int, seed: int
) -> tuple[list[str], list[int]]:
    """Prompt and number of solved examples of each question, which leave room for the answer."""
    prompts, used = [], []
    room = scorer.sequence_length - _most_tokens(scorer, task)
    for number in questions.asked:
        row = questions.pool[number]
        context, _ = prompter.question(row, right(row))
        shots = prompter.shots(number, count, seed)
        kept = fitting(scorer.tokenizer, prompter.header, shots, [(context, "")], room) if shots else []
        prompts.append(prompter.header + "".join(kept) + context)
        used.append(len(kept))
    return prompts, used


def _most_tokens(scorer: Scorer, task: FreeFormTask) -> int:
    """Of an answer: what the task says, in a short model half of its window."""
    return min(task.decoding.max_tokens, scorer.sequence_length // 2)


def _forced(
    scorer: Scorer, task: FreeFormTask, prompter: Prompter, questions: Questions, prompts: Sequence[str]
) -> tuple[list[bool], int]:
    """(whether the first answer and the text that ends it are the likeliest tokens all along, contexts cut)."""
    end = task.decoding.stop[0] if task.decoding.stop else ""

    cut = 0

    def continuations() -> Iterator[Continuation]:
        nonlocal cut
        for prompt, row in zip(prompts, questions.rows, strict=True):
            _, completion = prompter.question(row, right(row))
            ids, first = continuation_ids(scorer.tokenizer, prompt, completion + end)
            cut += len(ids) > scorer.sequence_length
            yield ids, first

    hits = [one.greedy for one in score_continuations(scorer, continuations(), questions.name)]
    return hits, cut


def _written(
    scorer: Scorer, task: FreeFormTask, questions: Questions, prompts: Sequence[str], seed: int
) -> tuple[list[str], int]:
    """(what the model writes behind each prompt, prompts that were cut)."""
    how = task.decoding
    sampling = how.method == "top-k"
    decoding = Decoding(
        max_tokens=_most_tokens(scorer, task),
        temperature=how.temperature if sampling else 0.0,
        top_k=how.top_k if sampling else 0,
        beams=how.beam if how.method == "beam" else 1,
        length_alpha=how.length_penalty,
        seed=seed,
        stop=how.stop,
    )
    ids = [[scorer.tokenizer.eot_id, *one] for one in scorer.tokenizer.encode_batch(prompts)]
    before = scorer.truncated
    found = generate(scorer, ids, decoding, title=questions.name)
    texts = [hypotheses[0].text for hypotheses in found]
    if how.sentences is not None:
        texts = [first_sentences(text, how.sentences) for text in texts]
    return texts, scorer.truncated - before


def _majority(metric: str, rows: Sequence[Row], first_only: bool) -> dict[str, float]:
    """What the one answer that is accepted most often would get, where answers are right or wrong."""
    if metric not in ("exact", "squad_exact"):
        return {}
    form = str.strip if metric == "exact" else normalized
    accepted = [{form(text) for text in (row["answers"][:1] if first_only else row["answers"])} for row in rows]
    return {"majority": max(Counter(text for texts in accepted for text in texts).values()) / len(rows)}


def _estimates(
    task: FreeFormTask, questions: Questions, written: Sequence[str], examples: list[dict[str, Any]]
) -> _Estimates:
    """Metric -> (estimate, what else defines it); adds each example's values to `examples`."""
    found: _Estimates = {}
    answers = [row["answers"] for row in questions.rows]
    for number, metric in enumerate(task.metrics):
        name: str = metric
        values: Sequence[float]
        if metric == "bleu":
            firsts = [accepted[0] for accepted in answers]
            estimate, signature = bleu(written, firsts)
            found["bleu"] = (estimate, {"signature": signature})
            values = [sentence_bleu(text, first) for text, first in zip(written, firsts, strict=True)]
        elif metric == "rouge":
            rows = [rouge(text, accepted[0]) for text, accepted in zip(written, answers, strict=True)]
            for one in ("rouge_mean", "rouge_1", "rouge_2", "rouge_l"):
                found[one] = (mean([row[one] for row in rows]), {"rouge": "rouge-score, stemmer, Lsum"})
            name, values = "rouge_mean", [row["rouge_mean"] for row in rows]
        elif metric == "squad_f1":
            values = [squad_f1(text, accepted) for text, accepted in zip(written, answers, strict=True)]
            found[metric] = (mean(values), {})
        else:
            values = hits = [ACCEPTS[metric](text, accepted) for text, accepted in zip(written, answers, strict=True)]
            found[metric] = (proportion(hits), {})
        # Tests between runs go by the task's own metric, which is the first.
        own = "correct" if metric in ACCEPTS else "value"
        for example, value in zip(examples, values, strict=True):
            example[own if number == 0 else name] = value
    return found
