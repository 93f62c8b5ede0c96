"""Word n-grams of evaluation examples in the training text, exact.

The forms are those of the papers: `alphanumeric` (GPT-2 4), lower-cased alphanumeric words; `unpunctuated` (GPT-3 C),
lower-cased words between white space without their punctuation.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Form = Literal["alphanumeric", "unpunctuated"]
Ngram = tuple[str, ...]

_ALPHANUMERIC = re.compile(r"[^\W_]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@cache
def _no_punctuation() -> dict[int, None]:
    every = map(chr, range(sys.maxunicode + 1))
    marks = [ord(c) for c in every if unicodedata.category(c).startswith("P")]
    return dict.fromkeys([*marks, *map(ord, "$+<=>^`|~")])


def words_of(text: str, form: Form) -> list[str]:
    """The words of a text in a form."""
    if form == "alphanumeric":
        return _ALPHANUMERIC.findall(text.lower())
    return text.lower().translate(_no_punctuation()).split()


def ngrams_of(text: str, n: int, form: Form) -> list[Ngram]:
    """All n-grams of a text, in order; none if it has fewer words."""
    words = words_of(text, form)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


class NgramFinder:
    """Which of some n-grams stand in texts.

    Args:
        wanted: n -> n-grams of so many words, at least one.
        form: of their words.

    Attributes:
        found: n -> those that were found until now.
    """

    def __init__(self, wanted: Mapping[int, Iterable[Ngram]], form: Form) -> None:
        self._form: Form = form
        self._ids: dict[str, int] = {}
        self._wanted: dict[int, dict[int, Ngram]] = {}
        self._sorted: dict[int, npt.NDArray[np.uint64]] = {}
        self.found: dict[int, set[Ngram]] = {}
        for n, ngrams in wanted.items():
            distinct = list(dict.fromkeys(ngrams))
            ids = np.array([[self._id(word) for word in one] for one in distinct], np.uint64).reshape(-1, n)
            keys = [int(key) for key in _keys(ids.reshape(-1), n)[::n]] if len(ids) else []
            self._wanted[n] = dict(zip(keys, distinct, strict=True))
            self._sorted[n] = np.array(sorted(self._wanted[n]), np.uint64)
            self.found[n] = set()

    def _id(self, word: str) -> int:
        return self._ids.setdefault(word, len(self._ids) + 1)

    def read(self, text: str) -> None:
        """Look for the n-grams in one text."""
        words = words_of(text, self._form)
        ids = np.fromiter((self._ids.get(word, 0) for word in words), np.uint64, len(words))
        if not ids.any():
            return
        for n, wanted in self._sorted.items():
            if len(ids) < n or not len(wanted):
                continue
            keys = _keys(ids, n)
            nearest = wanted[np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)]
            for place in np.flatnonzero(nearest == keys).tolist():
                ngram = self._wanted[n][int(keys[place])]
                if tuple(words[place : place + n]) == ngram:
                    self.found[n].add(ngram)


def _keys(ids: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.uint64]:
    """A number for each n-gram of a sequence of words."""
    keys = np.zeros(len(ids) - n + 1, np.uint64)
    for i in range(n):
        keys = keys * _FACTOR + ids[i : len(ids) - n + 1 + i]
    return keys
