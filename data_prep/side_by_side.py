"""Two texts that are nearly the same, cut where they begin to differ."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

_BEFORE = 8


@dataclass(frozen=True)
class Passage:
    """A part of a text.

    Attributes:
        first: number of its first word, from 0.
        words: its words, each with whether it is missing in the other text's passage.
    """

    first: int
    words: tuple[tuple[str, bool], ...]


def side_by_side(one: str, other: str, words: int = 80) -> tuple[Passage, Passage]:
    """The passages of two texts around their first difference, or their beginnings if there is none.

    Args:
        one, other: the texts; words are what stands between white space.
        words: words of a passage.
    """
    left, right = one.split(), other.split()
    same = 0
    while same < min(len(left), len(right)) and left[same] == right[same]:
        same += 1
    first = 0 if same == len(left) == len(right) else max(0, min(same - _BEFORE, len(left) - 1, len(right) - 1))
    left, right = left[first : first + words], right[first : first + words]
    in_left, in_right = [True] * len(left), [True] * len(right)
    for i, j, count in difflib.SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        in_left[i : i + count] = in_right[j : j + count] = [False] * count
    passages = (tuple(zip(part, flags, strict=True)) for part, flags in ((left, in_left), (right, in_right)))
    return Passage(first, next(passages)), Passage(first, next(passages))
