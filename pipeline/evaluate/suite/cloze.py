"""Children's Book Test (Hill et al. 2016; GPT-2 3.2): its files, and the same question made from any book.

A question is twenty sentences, a twenty-first with a word left out, and ten words of one type to choose from.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pipeline.evaluate.suite.detokenize import Shares, detokenize

SENTENCES = 20
CHOICES = 10
_BLANK = "XXXXX"
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "`": "'"}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"""(?<=[.!?])(["'”’)]*)\s+(?=["'“‘(]*[A-Z])""")
_TITLE_END = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Capt)\.$")
_DETERMINERS = frozenset(
    ["the", "a", "an", "his", "her", "my", "your", "their", "our", "its", "this", "that", "every", "no", "some"]
)
_AFTER_NOUN = frozenset(
    [
        "of",
        "in",
        "and",
        "was",
        "is",
        "had",
        "to",
        "with",
        "that",
        "on",
        "at",
        "were",
        "or",
        "for",
        "from",
        "as",
        "by",
        "into",
        "but",
        "who",
        "which",
    ]
)
_LEAST = 3
"""Times that a word must show its type in the book."""


def cbt_row(block: Sequence[str]) -> dict[str, Any]:
    """A question of the published files (cbtest_CN_*.txt, cbtest_NE_*.txt).

    Raises:
        ValueError: the lines are not numbered from 1 to 21, or the last one is no question.
    """
    numbers, texts = zip(*(line.split(" ", 1) for line in block), strict=True)
    if [int(number) for number in numbers] != list(range(1, SENTENCES + 2)):
        raise ValueError("lines are not numbered from 1 to 21")
    query, answer, _, candidates = texts[-1].split("\t")
    if query.split().count(_BLANK) != 1:
        raise ValueError(f"the question has no single {_BLANK}")
    choices = [candidate for candidate in candidates.split("|") if candidate]
    before, after = _plain(query).split(_BLANK)
    return _row(_plain(" ".join(texts[:-1])), before, after, choices, answer)


def _row(context: str, before: str, after: str, choices: Sequence[str], answer: str) -> dict[str, Any]:
    """`lead` is the space before the blank, which belongs to the token that fills it."""
    return {
        "context": f"{context} {before}".rstrip(),
        "lead": "" if before and not before.endswith(" ") else " ",
        "after": after,
        "choices": list(choices),
        "answer": list(choices).index(answer),
    }


def _plain(text: str) -> str:
    words = " ".join(_BRACKETS.get(word, word) for word in text.split())
    return detokenize(words, "penn", Shares()).replace("``", '"').replace("''", '"')


def plain_book(text: str) -> str:
    """A book of Project Gutenberg without what stands before and behind it."""
    lines = text.replace("\r\n", "\n").split("\n")
    marks = [number for number, line in enumerate(lines) if re.match(r"\*\*\* ?(START|END) OF", line)]
    return "\n".join(lines[marks[0] + 1 : marks[1]]) if len(marks) == 2 else "\n".join(lines)


def rows_of(text: str, type: Literal["name", "noun"], count: int = 1000, seed: int = 2016) -> list[dict[str, Any]]:
    """Questions from a book: at most one for every 21 sentences.

    The answer also stands in the twenty sentences. Its type is judged by the book alone: a `name` has a capital within
    sentences and never none; a `noun` mostly stands behind a determiner and before the end of its phrase. Other
    candidates come from the twenty sentences, then from the rest of the book.

    Raises:
        ValueError: the book is too short for a question.
    """
    sentences = _sentences(text)
    typed = _names(sentences) if type == "name" else _nouns(sentences)
    everywhere = sorted(typed)
    rows = []
    draw = random.Random(seed)
    for first in range(0, len(sentences) - SENTENCES, SENTENCES + 1):
        context, query = sentences[first : first + SENTENCES], sentences[first + SENTENCES]
        seen = sorted({word for sentence in context for word in _WORD.findall(sentence)} & typed)
        found = [match for match in _WORD.finditer(query) if match[0] in seen]
        if not found or len(everywhere) < CHOICES:
            continue
        blank = draw.choice(found)
        near = sorted((set(seen) | {match[0] for match in _WORD.finditer(query)} & typed) - {blank[0]})
        draw.shuffle(near)
        far = [word for word in everywhere if word not in near and word != blank[0]]
        draw.shuffle(far)
        choices = [blank[0], *(near + far)[: CHOICES - 1]]
        draw.shuffle(choices)
        rows.append(_row(" ".join(context), query[: blank.start()], query[blank.end() :], choices, blank[0]))
    if not rows:
        raise ValueError(f"the book is too short: no question of type {type}")
    return rows[:count]


def _sentences(text: str) -> list[str]:
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(paragraph.split()).replace("_", "")
        if not re.search(r"[a-z].*[.!?,;:]['\"”’)]*$", flat):
            continue  # a title, or a list of them
        start = 0
        for end in _SENTENCE_END.finditer(flat):
            if not _TITLE_END.search(flat[: end.start()]):
                found.append(flat[start : end.end(1)])
                start = end.end()
        found.append(flat[start:])
    return [sentence for sentence in found if _WORD.search(sentence)]


def _names(sentences: Sequence[str]) -> set[str]:
    within: Counter[str] = Counter()
    lower: set[str] = set()
    for sentence in sentences:
        for number, match in enumerate(_WORD.finditer(sentence)):
            word = match[0]
            if word[0].islower():
                lower.add(word)
            # Direct speech begins with a capital behind a comma and a quotation mark.
            inner = number > 0 and sentence[match.start() - 1] == " " and sentence[match.start() - 2] not in ".!?:"
            within[word] += inner and word[0].isupper() and not word.isupper()
    return {word for word, times in within.items() if times >= _LEAST and word.lower() not in lower and word.isalpha()}


def _nouns(sentences: Sequence[str]) -> set[str]:
    total: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for sentence in sentences:
        matches = list(_WORD.finditer(sentence))
        for number, match in enumerate(matches):
            word = match[0]
            total[word] += 1
            if number == 0 or matches[number - 1][0].lower() not in _DETERMINERS:
                continue
            follower = matches[number + 1][0] if number + 1 < len(matches) else ""
            ends = sentence[match.end() : match.end() + 1] != " " or follower in _AFTER_NOUN
            shown[word] += ends
    function = _DETERMINERS | _AFTER_NOUN
    return {
        word
        for word, times in shown.items()
        if times >= _LEAST and 2 * times > total[word] * 0.6 and word.islower() and word not in function
    }
