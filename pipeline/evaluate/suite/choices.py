"""The likeliest of several answers, by every normalisation, with solved examples before the question (GPT-3 2.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pipeline.config.evaluate_suite import ChoiceTask, Normalization
from pipeline.evaluate.continuation import Continuation, continuation_ids, score_continuations
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.statistics import proportion
from pipeline.evaluate.suite.prompts import Prompter, Questions, fitting
from pipeline.evaluate.suite.published import Row
from pipeline.evaluate.suite.scores import Score, TaskResult, referenced

NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)


@dataclass
class Answer:
    """One answer of one question.

    Attributes:
        nll: negative log-likelihood behind its question, nats.
        unconditional: the same behind the answer context alone, where the task has one.
        tokens, chars, bytes: its length.
    """

    nll: float = 0.0
    unconditional: float = 0.0
    tokens: int = 0
    chars: int = 0
    bytes: int = 0

    def score(self, normalization: Normalization) -> float:
        """What the best answer has most of, nats."""
        if normalization == "unconditional":
            return self.unconditional - self.nll
        return -self.nll / {"sum": 1, "token": self.tokens, "char": self.chars, "byte": self.bytes}[normalization]


@dataclass
class _Question:
    """A question with its number, answers, solved examples before it, right answer, and whether its context was cut."""

    number: int
    answers: list[Answer]
    shots: int
    truth: int
    cut: bool


def score_choices(scorer: Scorer, task: ChoiceTask, questions: Questions) -> TaskResult:
    """Accuracy for each number of solved examples and seed, by each normalisation."""
    prompter = Prompter(task, questions)
    result = TaskResult()
    kinds = [kind for kind in NORMALIZATIONS if kind != "unconditional" or task.answer_context is not None]
    floors = _floors(questions.rows)
    for count, seed, variant in questions.rounds():
        asked = _ask(scorer, task, prompter, questions, count, seed)
        definition: dict[str, Any] = {
            "version": task.version,
            "shots": count,
            "shots_used_mean": sum(question.shots for question in asked) / len(asked),
            "seed": seed if count else None,
            "contexts_cut": sum(question.cut for question in asked),
            "prefix": "<|endoftext|>",
            "context": task.context,
            "completion": task.completion,
        }
        for kind in kinds:
            right = [_best(question.answers, kind) == question.truth for question in asked]
            main = kind == task.normalization
            metric = "accuracy" if main else f"accuracy_{kind}"
            result.scores.append(
                Score(
                    questions.name,
                    variant,
                    metric,
                    proportion(right),
                    {**definition, "normalization": kind},
                    floors,
                    referenced(task.references, metric, count),
                    main,
                )
            )
        result.examples += [_example(question, variant, task.normalization) for question in asked]
    return result


def _example(question: _Question, variant: str, kind: Normalization) -> dict[str, Any]:
    picked = _best(question.answers, kind)
    return {
        "id": question.number,
        "variant": variant,
        "shots": question.shots,
        "answer": question.truth,
        "picked": picked,
        "correct": picked == question.truth,
        "nll": [answer.nll for answer in question.answers],
        "tokens": [answer.tokens for answer in question.answers],
    }


def _best(answers: Sequence[Answer], kind: Normalization) -> int:
    scores = [answer.score(kind) for answer in answers]
    return max(range(len(scores)), key=scores.__getitem__)


def _floors(rows: Sequence[Row]) -> dict[str, float]:
    """What chance gets, and who always says the number that is right most often."""
    chance = sum(1 / len(row["choices"]) for row in rows) / len(rows)
    most = max(Counter(row["answer"] for row in rows).values())
    return {"chance": chance, "majority": most / len(rows)}


def _ask(
    scorer: Scorer, task: ChoiceTask, prompter: Prompter, questions: Questions, count: int, seed: int
) -> list[_Question]:
    """All questions scored. Prompts are made as they are scored: no set is in memory as tokens."""
    found: list[_Question] = []
    tokenizer = scorer.tokenizer

    def continuations() -> Iterator[Continuation]:
        for number in questions.asked:
            row = questions.pool[number]
            asked = [prompter.question(row, choice) for choice in row["choices"]]
            shots = prompter.shots(number, count, seed)
            kept = fitting(tokenizer, prompter.header, shots, asked, scorer.sequence_length) if shots else []
            before = prompter.header + "".join(kept)
            answers = []
            cut = False
            for context, completion in asked:
                ids, first = continuation_ids(tokenizer, before + context, completion)
                scored = completion.strip()
                cut = cut or len(ids) > scorer.sequence_length
                answers.append(Answer(0.0, 0.0, len(ids) - first, len(scored), len(scored.encode())))
                yield ids, first
            found.append(_Question(number, answers, len(kept), row["answer"], cut))

    scores = score_continuations(scorer, continuations(), f"{questions.name}, {count}-shot")
    nll = [-one.logprob for one in scores]
    answers = [answer for question in found for answer in question.answers]
    for answer, value in zip(answers, nll, strict=True):
        answer.nll = value
    if task.answer_context is not None:
        alone = task.answer_context
        texts = [prompter.question(row, choice)[1] for row in questions.rows for choice in row["choices"]]
        pairs = (continuation_ids(tokenizer, alone, text) for text in texts)
        scores = score_continuations(scorer, pairs, f"{questions.name}, answers alone")
        for answer, one in zip(answers, scores, strict=True):
            answer.unconditional = -one.logprob
    return found
