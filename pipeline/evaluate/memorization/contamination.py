"""What evaluation sets share with the training text, and scores with and without it (GPT-2 4; GPT-3 C)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data_prep.errors import UserError
from data_prep.progress import ProgressBar
from data_prep.shards import TOKENIZER, DatasetManifest, TokenSplit
from data_prep.store import join
from data_prep.tokenizer import Tokenizer
from pipeline.config.evaluate_suite import LanguageModelTask, LastWordTask, PromptedTask, SuiteConfig, Task
from pipeline.evaluate.memorization.ngrams import Ngram, NgramFinder, ngrams_of, words_of
from pipeline.evaluate.statistics import Estimate, mean, proportion
from pipeline.evaluate.suite.formats import read_rows, read_text
from pipeline.evaluate.suite.prompts import fill, right
from pipeline.evaluate.suite.published import Row

GPT2_N = 8
GPT3_N = (8, 13)
"""Least and greatest."""
_PERCENTILE = 5


@dataclass(frozen=True)
class Overlap:
    """What a set shares with the training text.

    Attributes:
        ngrams: 8-grams of the set in GPT-2's form, repeats included.
        found: of these, those that stand in the training text.
        percent: the share (GPT-2, table 6).
        n: words of GPT-3's n-grams: the 5th percentile of the examples' lengths, within 8 and 13.
        examples: how many there are.
        dirty: numbers of the examples that have an n-gram which stands in the training text.
    """

    ngrams: int
    found: int
    percent: float
    n: int
    examples: int
    dirty: tuple[int, ...]


def training_texts(folder: str, documents: int | None) -> Iterator[tuple[int, int, str]]:
    """(number, of how many, text) of the training documents of a token dataset.

    Args:
        folder: the dataset, with its tokenizer.
        documents: at most so many, from the first on.

    Raises:
        UserError: there is no dataset.
    """
    manifest = DatasetManifest.load(folder)
    tokenizer = Tokenizer.load(join(folder, TOKENIZER))
    split = TokenSplit(folder, manifest, "train")
    count = min(documents or split.documents, split.documents)
    for number in range(count):
        yield number, count, tokenizer.decode(split.document(number)[:-1].tolist())


def texts_of(name: str, task: Task, root: str) -> list[str]:
    """The examples of a set as texts: the question with its right answer, or the text as it is."""
    if isinstance(task, LanguageModelTask):
        lines = read_text(root, task.data).decode("utf-8", "replace").split("\n")
        return [line for line in lines if line.strip()]
    rows = read_rows(root, task.data)
    return [_text(name, task, row) for row in rows]


def _text(name: str, task: Task, row: Row) -> str:
    if isinstance(task, PromptedTask):
        where = f"task {name}"
        return fill(task.context, row, right(row), where) + fill(task.completion, row, right(row), where)
    return str(row["text"] if isinstance(task, LastWordTask) else row["sentence"])


def gpt3_n(texts: Sequence[str]) -> int:
    """Words of the n-grams for a set (GPT-3 C)."""
    lengths = [len(words_of(text, "unpunctuated")) for text in texts]
    low, high = GPT3_N
    return min(high, max(low, math.floor(np.percentile(lengths, _PERCENTILE))))


def overlaps(sets: Mapping[str, Sequence[str]], corpus: str, documents: int | None = None) -> dict[str, Overlap]:
    """What each set shares with the training text of a token dataset; one pass over it.

    Args:
        sets: name -> texts of the examples.
        corpus: folder of the token dataset.
        documents: training documents that are looked at; None for all.
    """
    of_gpt2 = {name: [ngrams_of(text, GPT2_N, "alphanumeric") for text in texts] for name, texts in sets.items()}
    n = {name: gpt3_n(texts) for name, texts in sets.items()}
    of_gpt3 = {name: [ngrams_of(text, n[name], "unpunctuated") for text in texts] for name, texts in sets.items()}
    wanted: dict[int, list[Ngram]] = {}
    for name, examples in of_gpt3.items():
        wanted.setdefault(n[name], []).extend(ngram for example in examples for ngram in example)
    first = NgramFinder(
        {GPT2_N: [ngram for examples in of_gpt2.values() for example in examples for ngram in example]}, "alphanumeric"
    )
    second = NgramFinder(wanted, "unpunctuated")
    with ProgressBar("overlap", 0, "documents") as bar:
        for number, count, text in training_texts(corpus, documents):
            first.read(text)
            second.read(text)
            bar.update(number + 1, count)
    return {
        name: _overlap(
            [ngram for example in of_gpt2[name] for ngram in example],
            first.found[GPT2_N],
            of_gpt3[name],
            second.found[n[name]],
            n[name],
        )
        for name in sets
    }


def _overlap(
    ngrams: Sequence[Ngram], found: set[Ngram], examples: Sequence[Sequence[Ngram]], hits: set[Ngram], n: int
) -> Overlap:
    count = sum(ngram in found for ngram in ngrams)
    dirty = tuple(i for i, example in enumerate(examples) if any(ngram in hits for ngram in example))
    return Overlap(len(ngrams), count, 100 * count / len(ngrams) if ngrams else 0.0, n, len(examples), dirty)


def clean_and_dirty(overlap: Overlap, examples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Scores of all, the clean and the dirty examples, for each variant (GPT-3, figure 4.2).

    Args:
        overlap: of the set.
        examples: what each example got; those without `correct` or `value` do not count.
    """
    dirty = set(overlap.dirty)
    rows = []
    for variant in dict.fromkeys(row["variant"] for row in examples):
        mine = [row for row in examples if row["variant"] == variant]
        key = next((one for one in ("correct", "value") if all(one in row for row in mine)), None)
        if key is None:
            continue
        parts = {
            "all": mine,
            "clean": [row for row in mine if row["id"] not in dirty],
            "dirty": [row for row in mine if row["id"] in dirty],
        }
        found = {name: _estimate([row[key] for row in part]) for name, part in parts.items()}
        every, clean = found["all"], found["clean"]
        change = (clean.value - every.value) / every.value if clean is not None and every and every.value else None
        rows.append(
            {
                "variant": variant,
                "of": key,
                "relative_change_when_clean": change,
                **{name: None if one is None else asdict(one) for name, one in found.items()},
            }
        )
    return rows


def _estimate(values: Sequence[Any]) -> Estimate | None:
    if not values:
        return None
    return proportion(values) if isinstance(values[0], bool) else mean(values)


def contamination(config: SuiteConfig, tasks: Sequence[str], corpus: str, documents: int | None) -> dict[str, Overlap]:
    """`overlaps` of the tasks of a suite.

    Raises:
        UserError: a set or the dataset cannot be read.
    """
    sets = {name: texts_of(name, config.definitions[name], config.root) for name in tasks}
    if not sets:
        raise UserError("no task to compare with the training text", where="suite.tasks", fix="name some")
    return overlaps(sets, corpus, documents)
