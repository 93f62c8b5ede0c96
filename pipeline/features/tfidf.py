"""Weighted counts of words, and how far the words of two texts are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_prep.errors import UserError
from pipeline.config.features import TfidfConfig
from pipeline.features.examples import Dense, Matrix, Pair
from pipeline.features.vectors import words


class Tfidf:
    """TF-IDF of the terms of the training texts, each text of length 1 (scikit-learn's defaults).

    Args:
        settings: which terms.
        texts: of the training examples.

    Raises:
        UserError: they hold no term.
    """

    def __init__(self, settings: TfidfConfig, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(
            ngram_range=(1, settings.longest), min_df=settings.min_documents, sublinear_tf=settings.sublinear
        )
        try:
            self._vectorizer.fit(texts)
        except ValueError as error:
            raise UserError(
                f"the training texts hold no terms ({error})",
                where="tfidf.min_documents",
                fix="lower it, or give more examples",
            ) from None

    def embed(self, texts: Sequence[str]) -> Matrix:
        """[texts, terms] sparse."""
        from scipy import sparse

        return sparse.csr_array(self._vectorizer.transform(texts))

    def overlap(self, pairs: Sequence[Pair]) -> Dense:
        """[pairs, 5] float32: Jaccard index of the words, shares of the one's words in the other, cosine of the TF-IDF
        vectors, and the difference of the lengths in words over their sum."""
        left, right = self.embed([a for a, _ in pairs]), self.embed([b for _, b in pairs])
        cosine = np.asarray((left * right).sum(1)).reshape(-1)
        found = np.zeros((len(pairs), 5), np.float32)
        for row, (a, b) in enumerate(pairs):
            one, other = words(a.lower()), words(b.lower())
            ours, theirs = set(one), set(other)
            both = len(ours & theirs)
            found[row] = (
                both / max(1, len(ours | theirs)),
                both / max(1, len(ours)),
                both / max(1, len(theirs)),
                cosine[row],
                abs(len(one) - len(other)) / max(1, len(one) + len(other)),
            )
        return found
