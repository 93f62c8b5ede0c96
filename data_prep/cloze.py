"""A multiple-choice task made from held-out text: how does this passage go on?

As in HellaSwag's form (Zellers et al. 2019), one of four endings is the true one; the others are endings of passages of
other held-out documents, with as many words. No passage stands word by word in a training document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from data_prep import keyed
from data_prep.configfile import Settings
from data_prep.errors import UserError
from data_prep.paragraphs import Paragraph, SmallestKeys, few

CHOICES = 4
_WORD = re.compile(r"\S+")
_SPARE = 2
_ATTEMPTS = 1000


class ChoiceSettings(Settings):
    """Size of the task."""

    items: int = Field(default=200, gt=0)
    """Questions at most."""
    per_document: int = Field(default=4, gt=0)
    """Questions from one document at most."""
    context_words: int = Field(default=24, gt=0)
    ending_words: int = Field(default=8, gt=0)
    """Words between white space."""
    seed: int = 0


@dataclass(frozen=True)
class Passage:
    """The start of a paragraph, cut in two at a word."""

    id: str
    document: str
    context: str
    ending: str


def passage(paragraph: Paragraph, settings: ChoiceSettings) -> Passage | None:
    """The first words of a paragraph, None if it has too few.

    Context and ending joined by one space are the text as it stands.
    """
    words = list(_WORD.finditer(paragraph.text))
    if len(words) < settings.context_words + settings.ending_words:
        return None
    cut, end = words[settings.context_words - 1].end(), words[settings.context_words + settings.ending_words - 1].end()
    if paragraph.text[cut : words[settings.context_words].start()] != " ":
        return None
    return Passage(
        paragraph.id, paragraph.document, paragraph.text[words[0].start() : cut], paragraph.text[cut + 1 : end]
    )


class ChoiceTask:
    """Collects candidates in one pass over the documents, learns in a second one which stand in training documents.

    Memory: two candidates for each question wanted.

    Args:
        settings: the task.
    """

    def __init__(self, settings: ChoiceSettings) -> None:
        self._settings = settings
        self._sample: SmallestKeys[Paragraph] = SmallestKeys(_SPARE * settings.items)
        self._seen: dict[str, bool] = {}

    def offer(self, document: Sequence[Paragraph], held_out: bool) -> None:
        """First pass: a document whose paragraphs may become questions."""
        if held_out:
            usable = [p for p in document if passage(p, self._settings) is not None]
            for draw, p in few(self._settings.seed, "choice", usable, self._settings.per_document):
                self._sample.add(draw, p.id, p)

    def close(self) -> None:
        """End the first pass."""
        self._seen = {p.key: False for p in self._sample.items()}

    def see(self, document: Sequence[Paragraph], held_out: bool) -> None:
        """Second pass: every document of the corpus."""
        if not held_out:
            for paragraph in document:
                if paragraph.key in self._seen:
                    self._seen[paragraph.key] = True

    def rows(self) -> list[dict[str, Any]]:
        """Rows {"context", "choices": [4], "answer": index, "id"}.

        Raises:
            UserError: too few held-out documents to draw wrong endings from.
        """
        clean = [p for p in self._sample.items() if not self._seen[p.key]]
        passages = [found for p in clean if (found := passage(p, self._settings)) is not None][: self._settings.items]
        documents = len({item.document for item in passages})
        if documents < CHOICES:
            words = self._settings.context_words + self._settings.ending_words
            raise UserError(
                f"{documents} held-out documents have a paragraph of {words} words or more, and {CHOICES} are needed",
                where="tasks.choice",
                fix="give more documents, raise shards.validation_share, or lower context_words or ending_words",
            )
        questions = [self._question(item, passages) for item in passages]
        return [question for question in questions if question is not None]

    def _question(self, item: Passage, passages: list[Passage]) -> dict[str, Any] | None:
        """The row of one passage; None if the other documents have no three other endings."""
        choices: list[str] = []
        documents = {item.document}
        for attempt in range(_ATTEMPTS):
            other = passages[keyed.key(self._settings.seed, "ending", f"{item.id} {attempt}") % len(passages)]
            if other.document not in documents and other.ending not in (item.ending, *choices):
                choices.append(other.ending)
                documents.add(other.document)
            if len(choices) == CHOICES - 1:
                answer = keyed.key(self._settings.seed, "answer", item.id) % CHOICES
                choices.insert(answer, item.ending)
                return {"context": item.context, "choices": choices, "answer": answer, "id": item.id}
        return None
