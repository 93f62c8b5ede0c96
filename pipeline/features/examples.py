"""Features of labelled examples from features of their texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.task_data import Kind
from pipeline.finetune.task import Example

Dense = npt.NDArray[np.float32]
Matrix = Any
"""[rows, features]: `Dense`, or a scipy sparse array in CSR form (scipy has no types)."""
Pair = tuple[str, str]


def pairs_of(examples: Sequence[Example]) -> list[Pair]:
    """(first text, other text) of each example; of a choice, of each candidate of each example."""
    return [(example.texts[0], other) for example in examples for other in example.texts[1:]]


def row_counts(kind: Kind, examples: Sequence[Example]) -> npt.NDArray[np.int64]:
    """[n] rows of each example: its candidates for a choice, else 1."""
    return np.array([len(example.texts) - 1 if kind == "choice" else 1 for example in examples], np.int64)


def example_features(
    kind: Kind,
    examples: Sequence[Example],
    embed: Callable[[list[str]], Matrix],
    more: Callable[[list[Pair]], Matrix] | None = None,
) -> Matrix:
    """[rows, features] of examples; `row_counts` says which rows are whose.

    A single text is its own features. Of two that mean the same from either side, |a - b| and a * b (Tai et al. 2015,
    4.2); where the sides differ, a, b, |a - b| and a * b (Conneau et al. 2017, 3.1).

    Args:
        kind: form of the examples.
        examples: at least one.
        embed: texts -> [texts, features]; every distinct text is asked for once.
        more: pairs -> [pairs, further features].
    """
    texts = list(dict.fromkeys(text for example in examples for text in example.texts))
    place = {text: number for number, text in enumerate(texts)}
    found = embed(texts)
    if kind == "classification":
        return found[[place[example.texts[0]] for example in examples]]
    pairs = pairs_of(examples)
    left, right = found[[place[a] for a, _ in pairs]], found[[place[b] for _, b in pairs]]
    parts = [abs(left - right), left * right]
    if kind != "similarity":
        parts = [left, right, *parts]
    return beside([*parts, more(pairs)] if more is not None else parts)


def beside(parts: Sequence[Matrix]) -> Matrix:
    """Matrices of the same rows, one beside the other."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts, axis=1)
    from scipy import sparse

    return sparse.csr_array(sparse.hstack(parts, format="csr"))
