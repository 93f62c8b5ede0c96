"""C4's rules (Raffel et al. 2020, section 2.2): lines and citation marks to take out, pages to remove.

The page rules look at the whole page, as the paper says; C4's code, and datatrove, look only at lines that stay, and so
keep pages whose code stands on lines of its own. Sentences are counted by their end marks, without a model.

Not here: the three-sentence spans that occur twice in the corpus, and the language, which have stages of their own. The
paper's list of bad words is not bundled; give one (`bad_words`) to use that rule.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property

from pydantic import Field

from data_prep.configfile import Settings
from data_prep.documents import Document
from data_prep.drop import Change, Drop
from data_prep.filters.text import END_MARKS, lines
from data_prep.lists import load_list

POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_ELLIPSES = ("...", "\u2026")
_SENTENCE_END = re.compile(r"[.!?][\"'\u201d\u2019)\]]*(?=\s|$)|[\u3002\uff01\uff1f]")
_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts that write without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


class C4Settings(Settings):
    """The paper's values. Line rules take lines out of the text; page rules remove the document.

    Attributes:
        terminal_punctuation: take out lines that do not end with a terminal punctuation mark, or end with an ellipsis.
        min_words_per_line: take out lines of fewer words; 0 for no limit.
        max_word_length: take out lines with a longer word (1,000: the code of C4, not the paper); 0 for no limit.
        javascript: take out lines with the word "javascript".
        policies: take out lines with "privacy policy", "use cookies" and the like.
        citations: take out Wikipedia's citation marks, as [1] and [citation needed].
        lorem_ipsum: remove pages with "lorem ipsum".
        curly_bracket: remove pages with a `{`.
        min_sentences: remove pages of which fewer sentences are left; 0 for no limit.
        bad_words: remove pages with one of these words or phrases; a list as `data_prep.lists` reads it.
    """

    terminal_punctuation: bool = True
    min_words_per_line: int = Field(default=5, ge=0)
    max_word_length: int = Field(default=1000, ge=0)
    javascript: bool = True
    policies: bool = True
    citations: bool = True
    lorem_ipsum: bool = True
    curly_bracket: bool = True
    min_sentences: int = Field(default=3, ge=0)
    bad_words: tuple[str, ...] = ()

    @cached_property
    def _bad(self) -> BadWords:
        return BadWords(self.bad_words)

    def expanded(self) -> C4Settings:
        """With what the list says in place of its name.

        Raises:
            UserError: see `load_list`.
        """
        return self.model_copy(update={"bad_words": load_list(self.bad_words)})


class BadWords:
    """Finds words and phrases in texts: whole words, or anywhere in scripts that write without spaces.

    Args:
        entries: in lower case.
    """

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._anywhere = tuple(entry for entry in entries if _UNSPACED.search(entry))
        spaced = {entry: _spaced(entry) for entry in entries if not _UNSPACED.search(entry)}
        self._single = {key.strip(): entry for entry, key in spaced.items() if " " not in key.strip()}
        self._phrases = {key: entry for entry, key in spaced.items() if " " in key.strip()}

    def find(self, text: str) -> str | None:
        """The first entry (in the order of the alphabet) that the text holds, or None."""
        lower = text.lower()
        found = [entry for entry in self._anywhere if entry in lower]
        if self._single or self._phrases:
            normal = _spaced(lower)
            found += [self._single[word] for word in self._single.keys() & set(normal.split())]
            found += [entry for key, entry in self._phrases.items() if key in normal]
        return min(found, default=None)


def c4(document: Document, settings: C4Settings) -> Drop | Change | None:
    """Drop a page by the page rules, or take lines out of it; `settings` must be expanded."""
    text = document["text"]
    if settings.curly_bracket and "{" in text:
        return Drop("c4-curly-bracket")
    if settings.lorem_ipsum and "lorem ipsum" in text.lower():
        return Drop("c4-lorem-ipsum")
    if settings.bad_words and (word := settings._bad.find(text)) is not None:
        return Drop("c4-bad-word", detail=word)
    counts: Counter[str] = Counter()
    kept = []
    for line in lines(text):
        if settings.citations and "[" in line:
            line, marks = _CITATION.subn("", line)
            counts["c4-citations"] += marks
        reason = line_fault(line, settings)
        if reason is None:
            kept.append(line)
        else:
            counts[f"c4-lines-{reason}"] += 1
    counts += Counter()  # without the zeros
    if settings.min_sentences and (left := sum(map(sentences, kept))) < settings.min_sentences:
        return Drop("c4-too-few-sentences", score=left)
    return Change("\n".join(kept), counts) if counts else None


def line_fault(line: str, settings: C4Settings) -> str | None:
    """Why a line is taken out, or None."""
    if settings.terminal_punctuation and (not line.endswith(END_MARKS) or line.endswith(_ELLIPSES)):
        return "without-end-mark"
    found = line.split()
    if len(found) < settings.min_words_per_line:
        return "too-few-words"
    if settings.max_word_length and len(line) > settings.max_word_length < max(map(len, found), default=0):
        return "long-word"
    lower = line.lower()
    if settings.javascript and "javascript" in lower:
        return "javascript"
    if settings.policies and any(phrase in lower for phrase in POLICY):
        return "policy"
    return None


def sentences(line: str) -> int:
    """How many sentences a line holds, at least one: ends of sentences before white space or the end of the line."""
    return max(1, len(_SENTENCE_END.findall(line)))


def _spaced(text: str) -> str:
    """The words with one space around each."""
    return f" {' '.join(_WORD.findall(text))} "
