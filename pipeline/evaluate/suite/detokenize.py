"""Invertible de-tokenisers: artefacts of tokenised test sets are taken back, and nothing is lost (GPT-2 3.1).

A line is words between white space. `detokenize` joins those that plain text would join ("do n't" -> "don't",
"1 @,@ 000" -> "1,000"); `words_of` cuts such text into the same words again. Cutting looks at one run of characters
between white space at a time, so each joined run is proved by itself: one that would not come back as its own words
keeps its spaces. A line that cannot be proved in the end keeps its text as it stands. So the log-probability of the
new text is one of the original words, whose number it is divided by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Name = Literal["ptb", "penn", "wikitext"]


@dataclass(frozen=True)
class _Rules:
    """How a set was tokenised.

    Attributes:
        left: words that plain text joins to the word before.
        right: words that it joins to the word after.
        clitics: ends of words that were cut off ("'s").
        infix: words that stood inside of a word, and what they were there.
        quotes: a word that opens and closes in turn; "" if there is none.
    """

    left: frozenset[str]
    right: frozenset[str]
    clitics: tuple[str, ...]
    infix: dict[str, str] = field(default_factory=dict)
    quotes: str = ""


_RULES: dict[Name, _Rules] = {
    # Mikolov's PTB: Penn treebank's words in lower case, without punctuation
    "ptb": _Rules(
        left=frozenset(["%"]),
        right=frozenset(["$", "#"]),
        clitics=("n't", "'s", "'re", "'ve", "'ll", "'d", "'m", "'"),
    ),
    # Penn treebank's, as in CBT and the One Billion Word Benchmark
    "penn": _Rules(
        left=frozenset([",", ".", ";", ":", "?", "!", ")", "%", "''"]),
        right=frozenset(["(", "$", "#", "``"]),
        clitics=("n't", "'s", "'re", "'ve", "'ll", "'d", "'m", "'S", "N'T"),
        quotes='"',
    ),
    # Moses', with @-@ for what it cut inside of words
    "wikitext": _Rules(
        left=frozenset([",", ".", ";", ":", "?", "!", ")", "]", "%", "'", "′", "″"]),
        right=frozenset(["(", "[", "$", "£", "€", "¥"]),
        clitics=("'s", "'t", "'re", "'ve", "'ll", "'d", "'m"),
        infix={"@-@": "-", "@,@": ",", "@.@": "."},
        quotes='"',
    ),
}
_ABBREVIATION = re.compile(
    r"(?:[A-Z]|[A-Za-z](?:\.[A-Za-z])+|Mr|Mrs|Ms|Dr|St|Jr|Sr|Lt|Col|Gen|Sgt|Capt|Maj|Adm|Gov|Sen|Rep|Rev|Prof|Hon"
    r"|Mt|Ft|No|Nos|vs|etc|al|approx|ca|var|Inc|Co|Corp|Ltd|Bros|Op|Vol|pp|cf)\.|\.\.+"
)
_INNER = {
    "@-@": re.compile(r"(?<=[\w>])-(?=[\w<])"),
    "@,@": re.compile(r"(?:(?<=\d)|(?<=<unk>)),(?=\d|<unk>)"),
    "@.@": re.compile(r"(?:(?<=\d)|(?<=<unk>))\.(?=\d|<unk>)"),
}


@dataclass
class Shares:
    """How much of a text was de-tokenised.

    Attributes:
        lines: lines with a word.
        whole: of these, lines in which every join was proved and made.
        raw: of these, lines that keep their text because they could not be proved.
        unproved: of these, lines whose words cannot be had back by the decoder either way.
        joins: places where plain text would join two words.
        joined: of these, where they are joined.
    """

    lines: int = 0
    whole: int = 0
    raw: int = 0
    unproved: int = 0
    joins: int = 0
    joined: int = 0


def words_of(text: str, name: Name) -> list[str]:
    """Cut plain text into the words of the tokenised set."""
    return [word for run in text.split() for word in _cut(run, name)]


def original_of(text: str, name: Name) -> list[str]:
    """The decoder: the words of the original line of a text that `detokenize` gave."""
    words = words_of(text, name)
    return words if _joined(words, name)[0] == text else text.split()


def detokenize(line: str, name: Name, shares: Shares) -> str:
    """Plain text of a line without its line end; adds to `shares`."""
    words = line.split()
    if not words:
        return line
    shares.lines += 1
    text, wanted, made = _joined(words, name)
    shares.joins += wanted
    if words_of(text, name) == words and original_of(text, name) == words:
        shares.joined += made
        shares.whole += made == wanted
        return text
    shares.raw += 1
    shares.unproved += original_of(line, name) != words
    return line


def _joined(words: Sequence[str], name: Name) -> tuple[str, int, int]:
    """Plain text, how many joins it would have, how many it has."""
    rules = _RULES[name]
    runs: list[str] = []
    wanted = made = 0
    for run in _runs(words, rules):
        joins = len(run) - 1
        wanted += joins
        text = _text_of(run, rules)
        if joins and _cut(text, name) == tuple(run):
            made += joins
            runs.append(text)
        else:
            runs.extend(run)
    return " ".join(runs), wanted, made


def _runs(words: Sequence[str], rules: _Rules) -> Iterator[list[str]]:
    """Words that plain text would write without a space between."""
    run: list[str] = []
    glue, open_quote = False, False
    for word in words:
        joins_before = word in rules.left or word in rules.clitics or word in rules.infix
        joins_after = word in rules.right or word in rules.infix
        if word == rules.quotes:
            joins_before, joins_after = open_quote, not open_quote
            open_quote = not open_quote
        if run and not (glue or joins_before):
            yield run
            run = []
        run.append(word)
        glue = joins_after
    if run:
        yield run


def _text_of(run: Sequence[str], rules: _Rules) -> str:
    return "".join(rules.infix.get(word, word) for word in run)


@lru_cache(maxsize=1 << 18)
def _cut(run: str, name: Name) -> tuple[str, ...]:
    """The words of a run of characters without white space."""
    rules = _RULES[name]
    first: list[str] = []
    last: list[str] = []
    opening = {*rules.right, rules.quotes} - {""}
    closing = {*rules.left, rules.quotes} - {""}
    while True:
        mark = _longest(opening, run, str.startswith)
        if not mark or mark == run:
            break
        first.append(mark)
        run = run[len(mark) :]
    while True:
        # "U.S." keeps its point; "U.S.." was the end of a sentence.
        mark = "" if _ABBREVIATION.fullmatch(run) else _longest(closing, run, str.endswith)
        mark = _longest(rules.clitics, run, str.endswith) or mark
        if not mark or mark == run:
            break
        last.append(mark)
        run = run[: -len(mark)]
    return (*first, *_cut_inside(run, rules), *reversed(last))


def _longest(marks: Iterable[str], run: str, test: Callable[[str, str], bool]) -> str:
    return max((mark for mark in marks if test(run, mark)), key=len, default="")


def _cut_inside(run: str, rules: _Rules) -> list[str]:
    spaced = run
    for word in rules.infix:
        spaced = _INNER[word].sub(f" {word} ", spaced)
    return spaced.split()
