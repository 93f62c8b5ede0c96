"""Logistic regression over hashed term frequencies, as GPT-3's quality classifier (appendix A).

Terms are the words of Spark's standard Tokenizer (lower case, divided by white space), hashed into 2^18 places as by
its HashingTF, but with our hash, and without the empty words that Spark sees between two spaces. Frequencies are
counts. As in Spark's LogisticRegression, each place is divided by its standard deviation while the model is fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from data_prep.compiled import compiled
from data_prep.errors import CorruptFile
from data_prep.ngrams import word_hashes

DIMENSIONS = 1 << 18
"""Spark's default for HashingTF."""
_ITERATIONS = 300

Row = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""The terms of a document: distinct places, sorted, and how often each occurs."""


def features(text: str) -> Row:
    """Hashed term frequencies of a text."""
    places, counts = np.unique(word_hashes(text, "lower") & np.uint64(DIMENSIONS - 1), return_counts=True)
    return places.astype(np.int32), counts.astype(np.int32)


@dataclass(frozen=True)
class QualityModel:
    """A fitted classifier.

    Attributes:
        weights: [DIMENSIONS] float32.
        intercept: log odds of a text without words.
    """

    weights: npt.NDArray[np.float32]
    intercept: float

    def score(self, row: Row) -> float:
        """Probability that a document with these terms belongs to the good set, as far as the model can tell."""
        odds = float(_sum(self.weights, *row, self.intercept))
        return 1.0 / (1.0 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1.0 + math.exp(odds))

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        data: bytes = save({"weights": self.weights, "intercept": np.array([self.intercept], np.float64)})
        return data

    @staticmethod
    def from_bytes(data: bytes, where: str) -> QualityModel:
        """Inverse of `to_bytes`.

        Raises:
            CorruptFile: it is no such file.
        """
        try:
            tensors = load(data)
            weights, intercept = tensors["weights"], tensors["intercept"]
        except Exception as error:
            raise CorruptFile(f"not a quality model ({error!r})", where=where, fix="run its stage again") from None
        if weights.shape != (DIMENSIONS,) or weights.dtype != np.float32 or intercept.shape != (1,):
            raise CorruptFile("not a quality model of this version", where=where, fix="run its stage again")
        return QualityModel(weights, float(intercept[0]))


@compiled
def _sum(weights: Any, places: Any, counts: Any, start: float) -> float:
    # One after the other, which unlike numpy's sums gives the same bits on every processor.
    total = np.float64(start)
    for i in range(len(places)):
        total += np.float64(weights[places[i]]) * counts[i]
    return total


def fit(rows: list[Row], good: npt.NDArray[np.bool_], strength: float) -> QualityModel:
    """Fit a model (lbfgs, one thread: the same rows give the same bytes on the same kind of processor).

    Args:
        rows: of documents of both sets.
        good: [n_rows] which belong to the good set.
        strength: of the regularisation: factor of half the squared norm of the weights of scaled terms, beside the mean
            log loss.
    """
    # Here and not above: importing them takes a second, which is no use to the tasks that score documents.
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    ends = np.cumsum([len(places) for places, _ in rows])
    data = np.concatenate([counts for _, counts in rows]).astype(np.float64)
    table = sparse.csr_array(
        (data, np.concatenate([places for places, _ in rows]), np.append(0, ends)), (len(rows), DIMENSIONS)
    )
    mean = table.mean(axis=0)
    deviation = np.sqrt(np.maximum(table.multiply(table).mean(axis=0) - mean**2, 0.0))
    scale = np.divide(1.0, deviation, out=np.zeros(DIMENSIONS), where=deviation > 0)
    scaled = (table @ sparse.diags_array(scale)).tocsr()
    with threadpool_limits(1):
        fitted = LogisticRegression(C=1.0 / (strength * len(rows)), max_iter=_ITERATIONS).fit(scaled, good)
    return QualityModel((fitted.coef_[0] * scale).astype(np.float32), float(fitted.intercept_[0]))
