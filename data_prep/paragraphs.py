"""Paragraphs of documents, and a bounded keyed sample of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import xxhash

from data_prep import keyed

T = TypeVar("T")


@dataclass(frozen=True)
class Paragraph:
    """One line of a document.

    Attributes:
        id: `<document id>:<line number from 0>`.
        document: the document's id.
        text: the line without the white space around it.
    """

    id: str
    document: str
    text: str

    @cached_property
    def words(self) -> int:
        """Words between white space."""
        return len(self.text.split())

    @cached_property
    def key(self) -> str:
        """128-bit hash of the text (hex): equal for paragraphs that are the same word by word."""
        return xxhash.xxh3_128_hexdigest(" ".join(self.text.split()).encode())


def paragraphs(document: str, text: str, min_words: int) -> Iterator[Paragraph]:
    """The lines of a text that have at least `min_words` words."""
    for number, line in enumerate(text.splitlines()):
        paragraph = Paragraph(f"{document}:{number}", document, line.strip())
        if paragraph.words >= min_words:
            yield paragraph


def few(seed: int, purpose: str, candidates: Sequence[Paragraph], most: int) -> list[tuple[int, Paragraph]]:
    """At most `most` of one document's paragraphs with their draws, by rising draw.

    A draw is of the text, so that the same paragraph has the same draw wherever it stands.
    """
    drawn = sorted(((keyed.key(seed, purpose, p.key), p.id, p) for p in candidates), key=lambda item: item[:2])
    return [(draw, paragraph) for draw, _, paragraph in drawn[:most]]


class SmallestKeys(Generic[T]):
    """The items with the `size` smallest distinct keys of all that were added: a sample, if keys are draws.

    Two additions with one key count once; the one whose name sorts first stays, so that the order of additions does not
    matter.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[int] = []  # negated, so that the largest key is on top
        self._items: dict[int, tuple[str, T]] = {}

    def add(self, key: int, name: str, item: T) -> None:
        """Offer an item; `name` settles which of two items with one key stays."""
        if key in self._items:
            if name < self._items[key][0]:
                self._items[key] = (name, item)
            return
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, -key)
        elif self._size and key < -self._heap[0]:
            del self._items[-heapq.heapreplace(self._heap, -key)]
        else:
            return
        self._items[key] = (name, item)

    def items(self) -> list[T]:
        """What was kept, by rising key."""
        return [self._items[key][1] for key in sorted(self._items)]
