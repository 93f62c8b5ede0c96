"""The main text of a page from the density of its text: an extractor of our own, for speed.

1. A block is good if it reads like text: long enough, few of its characters linked, or a sentence.
2. The text is in the container that fits the good blocks best: the one with the greatest Dice overlap
   2 good(c) / (good(page) + all(c)), in bytes, between what it holds and the good blocks of the page. The overlap also
   says how clearly the page is divided, and so how much the result can be trusted.
3. Of that container stays what is good and what stands between: short paragraphs, items, rows, headings above text.

Sizes are bytes of UTF-8, in which the same text is about as long in scripts with many letters a word as in those
with few. Nothing here knows a language.
"""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass
from typing import Any

from data_prep.extract.blocks import CONTENT, DECLARED, NEUTRAL, Block, Container, Reading, read_blocks

VERSION = 1
"""Raised when the same page gives another text."""

_LONG = 100
"""Bytes of a block that is text by its length alone. About the 15 words of Kohlschuetter et al. 2010 (boilerpipe)."""
_SENTENCE = 25
"""Bytes of the shortest block that is text because it ends as a sentence."""
_LINKED = 1 / 3
"""Share of linked characters above which a block is not text; Kohlschuetter et al. 2010 split at 0.333."""
_MOSTLY_LINKED = 1 / 2
"""The same for long paragraphs, which encyclopedias link heavily."""
_LINKED_LIST = 2 / 3
"""The same for a whole list or table: one of references is linked to about a half, navigation wholly."""
_STOPS = tuple(".!?:;…。！？：；।॥؟۔።")
_ENDS = (*_STOPS, *"\"'”’»›)]」』）")
"""What sentences end with, and what may follow on that: closing quotes and brackets."""
_SHORT = 250
"""Characters under which the page is read again without trust in names."""
_BONUS = {NEUTRAL: 1.0, CONTENT: 1.1, DECLARED: 1.5}
"""Weight of what the page itself says of a container."""


@dataclass(frozen=True)
class MainText:
    """What was taken for the main text.

    Attributes:
        text: blocks, a line each; "" if there is none.
        clearness: overlap of the chosen container with the good blocks of the page, 0 to 1.
    """

    text: str
    clearness: float


def main_text(body: Any, comments: bool = False, tables: bool = True) -> MainText:
    """The main text of a page.

    Args:
        body: lxml element.
        comments: keep readers' comments.
        tables: keep tables.
    """
    reading = read_blocks(body, comments, tables)
    found, paragraphs = _choose(reading)
    if len(found.text) < _SHORT or paragraphs < reading.paragraphs_left_out:
        # Names may mislead: `<div class="sidebar-page">` around everything.
        again, _ = _choose(read_blocks(body, comments, tables, prune=False))
        if len(again.text) > 2 * len(found.text):
            return MainText(again.text, again.clearness / 2)
    return found


def is_good(block: Block, size: int) -> bool:
    """Whether a block by itself reads like text."""
    if block.level:
        return False
    if size >= _LONG:
        return block.linked <= (_MOSTLY_LINKED if block.authored else _LINKED)
    return block.linked <= _LINKED and block.authored and size >= _SENTENCE and block.text.endswith(_ENDS)


def _choose(reading: Reading) -> tuple[MainText, int]:
    """The main text and the number of its good blocks."""
    blocks = reading.blocks
    _judge_lists(blocks)
    sizes = [len(block.text.encode("utf-8", "replace")) for block in blocks]
    good = [is_good(block, size) for block, size in zip(blocks, sizes, strict=True)]
    if True not in good:
        return MainText("", 0.0), 0
    all_before = [0, *itertools.accumulate(sizes)]
    good_before = [0, *itertools.accumulate(map(operator.mul, sizes, good))]
    best, best_score = reading.containers[0], -1.0
    for container in reading.containers:
        first, after = container.first, container.after
        inside = good_before[after] - good_before[first]
        score = 2 * inside / (good_before[-1] + all_before[after] - all_before[first]) * _BONUS[container.mark]
        if score >= best_score:  # of equal ones the innermost
            best, best_score = container, score
    clearness = min(best_score / _BONUS[best.mark], 1.0)
    first = good.index(True, best.first)
    last = best.after - 1 - good[best.first : best.after][::-1].index(True)
    inner_titles = sum(block.level > 0 and block.linked > _MOSTLY_LINKED for block in blocks[first:last])
    if inner_titles > 1:
        clearness /= 2  # texts below titles that link to them: the page lists other pages
    return MainText("\n".join(_between(blocks, good, best, first, last)), clearness), sum(good[first : last + 1])


def _judge_lists(blocks: list[Block]) -> None:
    """A list or table is navigation or text as a whole: most of it is linked, or its links count for nothing."""
    linked: dict[int, float] = {}
    total: dict[int, int] = {}
    for block in blocks:
        if block.listed >= 0:
            size = len(block.text)
            linked[block.listed] = linked.get(block.listed, 0.0) + block.linked * size
            total[block.listed] = total.get(block.listed, 0) + size
    for block in blocks:
        if block.listed >= 0:
            block.linked = float(linked[block.listed] > _LINKED_LIST * total[block.listed])


def _between(blocks: list[Block], good: list[bool], within: Container, first: int, last: int) -> list[str]:
    """The text of the good blocks from `first` to `last` and of what belongs to them."""
    # Items and rows that follow on the last good block without a break, and headings above the first one but the title.
    while last + 1 < within.after and blocks[last + 1].listed >= 0 and _may_stay(blocks[last + 1]):
        last += 1
    while first > within.first and blocks[first - 1].level > 1:
        first -= 1
    kept: list[str] = []
    headings: list[Block] = []
    for block, is_text in zip(blocks[first : last + 1], good[first : last + 1], strict=True):
        if block.level:
            headings = [heading for heading in headings if heading.level < block.level]
            headings.append(block)
        elif is_text or _may_stay(block):
            kept += [heading.text for heading in headings if heading.linked <= _MOSTLY_LINKED]
            headings = []
            kept.append(block.text)
    return kept


def _may_stay(block: Block) -> bool:
    """Whether a block that is no text by itself is one between blocks that are."""
    return block.linked <= _LINKED and (block.authored or block.text.endswith(_STOPS))
