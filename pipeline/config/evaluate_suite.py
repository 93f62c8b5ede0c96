"""Evaluation sets and how they are scored: a task is data, no code."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative, Positive, Share

Normalization = Literal["sum", "token", "char", "byte", "unconditional"]
"""What the log-likelihood of a choice is divided by: nothing, its tokens (GPT-3 2.4), its characters (acc_norm of
lm-evaluation-harness), its UTF-8 bytes, or the likelihood that it has behind `answer_context` alone (GPT-3 2.4)."""


class SetFiles(Settings):
    """Files of an evaluation set.

    Attributes:
        path: file or folder below the suite's `root`, or absolute.
        format: how its rows are read; `pipeline/evaluate/suite/formats.py` lists them.
        options: of the format.
    """

    path: str
    format: str
    options: dict[str, Any] = Field(default_factory=dict)


class About(Settings):
    """Where a set comes from.

    Attributes:
        title: what it is, with its version or split.
        licence: of the data.
        source: where to get it, or who to ask.
    """

    title: str
    licence: str
    source: str = ""


class Reference(Settings):
    """Published numbers.

    Attributes:
        source: paper and table, or who measured.
        metric: name of our metric that it is to be compared with.
        shots: of few-shot numbers.
        values: model -> number, in our unit (accuracies as shares).
        note: what is different or doubtful about them.
    """

    source: str
    metric: str
    shots: NotNegative | None = None
    values: Annotated[dict[str, float], Field(min_length=1)]
    note: str = ""


class TaskBase(Settings):
    """What all kinds have.

    Attributes:
        version: raised whenever a change makes another number of the same model.
        data: what is scored.
        references: published numbers.
    """

    version: Positive = 1
    data: SetFiles
    about: About
    references: tuple[Reference, ...] = ()


class LanguageModelTask(TaskBase):
    """Perplexity of running text by its original units (GPT-2 3.1).

    Attributes:
        unit: "word" (white space, and a line's end is one), "byte" or "char".
        units: how many the set has, which is checked; None for any file.
        detokenizer: which artefacts are taken back; both texts are scored then.
        documents: whether the file is one text or each line is.
        window: longest context, in tokens; a shorter model has its own.
        overlaps: shares of a window that are context only. 0 is a stride of the window, 0.5 one of half of it.
    """

    kind: Literal["language-model"]
    unit: Literal["word", "byte", "char"] = "word"
    units: Positive | None = None
    detokenizer: Literal["ptb", "penn", "wikitext"] | None = None
    documents: Literal["file", "line"] = "file"
    window: Positive = 1024
    overlaps: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0, 0.5)


class LastWordTask(TaskBase):
    """The last word of a passage (LAMBADA; GPT-2 3.3): by last token, by word, and by word behind a stop-word filter.

    Attributes:
        stop_words: file of words, one a line, that are no answer; without it there is no filtered score.
        beam: words that are looked at for the filter.
    """

    kind: Literal["last-word"]
    stop_words: str | None = None
    beam: Positive = 8


class Shots(Settings):
    """Solved examples that stand before a question (GPT-3 2.4).

    Attributes:
        counts: how many; a score for each.
        data: where they are drawn from, without replacement and without the question, anew for each question; None for
            the set itself.
        separator: behind each of them.
        header: before the first of them, and before the question where there is none: an instruction.
    """

    counts: Annotated[tuple[NotNegative, ...], Field(min_length=1)] = (0,)
    data: SetFiles | None = None
    separator: str = "\n\n"
    header: str = ""


class PromptedTask(TaskBase):
    """What tasks with prompts have.

    Attributes:
        context: template of what stands before the answer; {field} is a field of the row, {choice} one of its choices.
        completion: template of the answer; begins with its space.
        shots: solved examples.
    """

    context: str = ""
    completion: str = " {choice}"
    shots: Shots = Shots()


class ChoiceTask(PromptedTask):
    """The likeliest of several answers. Rows have `choices` and `answer`, the number of the right one.

    Attributes:
        normalization: of the score called `accuracy`; the others are there too, under their own names.
        answer_context: what the answer's own likelihood is measured behind, for `unconditional`.
    """

    kind: Literal["choice"]
    normalization: Normalization = "token"
    answer_context: str | None = None

    @model_validator(mode="after")
    def _can_be_normalized(self) -> Self:
        if self.normalization == "unconditional" and self.answer_context is None:
            raise ValueError('normalization "unconditional" needs answer_context, such as "Answer:"')
        return self


class Decoding(Settings):
    """How an answer is written.

    Attributes:
        method: "forced" asks only whether the right answer and its end are what greedy decoding writes, in one pass;
            "greedy"; "beam" (GPT-3 2.4); "top-k".
        max_tokens: at most.
        stop: texts that end it.
        beam: width.
        length_penalty: alpha of ((5 + length) / 6)^alpha, which log-likelihoods are divided by (Wu et al. 2016).
        top_k: tokens to draw from.
        temperature: of drawing.
        sentences: what is kept of the text, from its start; None for all.
    """

    method: Literal["forced", "greedy", "beam", "top-k"] = "greedy"
    max_tokens: Positive = 32
    stop: tuple[str, ...] = ("\n",)
    beam: Positive = 4
    length_penalty: Annotated[float, Field(ge=0)] = 0.6
    top_k: Positive = 2
    temperature: Annotated[float, Field(gt=0)] = 1.0
    sentences: Positive | None = None


class FreeFormTask(PromptedTask):
    """A written answer. Rows have `answers`, the accepted ones; {choice} is the first.

    Attributes:
        metrics: what answers are compared by.
        decoding: how they are written.
    """

    kind: Literal["free-form"]
    metrics: Annotated[tuple[Literal["exact", "squad_exact", "squad_f1", "rouge", "bleu"], ...], Field(min_length=1)]
    decoding: Decoding = Decoding()

    @model_validator(mode="after")
    def _forced_is_exact(self) -> Self:
        if self.decoding.method == "forced" and self.metrics != ("exact",):
            raise ValueError('decoding.method "forced" writes nothing: metrics must be [exact]')
        return self


class HeuristicTask(TaskBase):
    """GPT-1's zero-shot heuristics for sentences (5, figure 2).

    Attributes:
        kind: "acceptability" thresholds the mean token log-probability of a sentence (CoLA); rows have `sentence` and
            `label`, and the threshold comes from `tuning`.
        tuning: rows that the threshold is taken from, where Matthews' correlation is highest.
    """

    kind: Literal["acceptability"]
    tuning: SetFiles


Task = Annotated[
    LanguageModelTask | LastWordTask | ChoiceTask | FreeFormTask | HeuristicTask, Field(discriminator="kind")
]


class SuiteConfig(Settings):
    """Evaluation sets on this machine.

    Attributes:
        root: folder that holds them.
        tasks: which of `definitions` are scored, in order.
        definitions: name -> task; `configs/evaluate/tasks/` has them.
        shots: numbers of solved examples for every task that has any; None for each task's own.
        seeds: of the solved examples; each gives a score.
        limit: at most so many examples of each set, drawn by seed, for trying things out: the scores are no result.
        missing: what to do about a set whose files are not there.
    """

    root: str
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    definitions: dict[str, Task]
    shots: Annotated[tuple[NotNegative, ...], Field(min_length=1)] | None = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1234,)
    limit: Positive | None = None
    missing: Literal["error", "skip"] = "error"

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_scored(cls, data: Any) -> Any:
        """A definition that is not named changes nothing, and so is no part of the configuration."""
        if not isinstance(data, dict) or not isinstance(data.get("definitions"), dict):
            return data
        names, known = data.get("tasks"), data["definitions"]
        if not isinstance(names, list | tuple):
            return data
        for name in names:
            if name not in known:
                raise ValueError(f"tasks: {name!r} is none of definitions ({', '.join(sorted(known))})")
        if len(set(names)) != len(names):
            raise ValueError("tasks: one is named twice")
        return {**data, "definitions": {name: known[name] for name in names}}


class InLoopSuiteConfig(SuiteConfig):
    """Evaluation sets that are scored while a model is pretrained, without solved examples (GPT-1 5, figure 2).

    Attributes:
        every: steps between scores; the last step is always scored.
        batch_tokens: as in an evaluation: memory alone.
    """

    every: Positive
    batch_tokens: Positive = 8192
    shots: tuple[Literal[0]] = (0,)
