"""A labelled task made from the corpus: which site or package a paragraph documents.

Train and validation rows come from documents of the training split of the token shards, test rows from the held-out
ones. No document gives rows to two splits, and no row's paragraph stands word by word in a document of another split or
label.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator

from data_prep import keyed
from data_prep.configfile import Settings
from data_prep.errors import UserError
from data_prep.paragraphs import Paragraph, SmallestKeys, few
from data_prep.shard_stage import TRAIN

SPLITS = ("train", "validation", "test")
_SPARE = 2
"""Candidates held for each row wanted: some turn out to stand elsewhere too."""

Place = tuple[str, str | None]
"""Split and label of a document."""


class LabelledSettings(Settings):
    """What counts as a label, and how many rows there are."""

    url_patterns: tuple[str, ...] = (
        r"^https?://(?:www\.)?github\.com/[^/]+/([^/?#]+)",
        r"^https?://([^/.]+)\.readthedocs\.io/",
        r"^https?://pypi\.org/project/([^/?#]+)",
        r"^https?://(?:www\.)?([^/:?#]+)",
    )
    """Tried in order; the groups of the first that matches, joined by "/", are the label."""
    labels: int = Field(default=8, ge=2)
    """Labels at most: those with the most paragraphs, among those with enough of them in every split."""
    train_per_label: int = Field(default=200, gt=0)
    validation_per_label: int = Field(default=25, gt=0)
    test_per_label: int = Field(default=25, gt=0)
    """Rows of each label at most; where a label has fewer, all get as few, down to a half."""
    min_words: int = Field(default=12, gt=0)
    max_words: int = Field(default=120, gt=0)
    """Length of a paragraph."""
    per_document: int = Field(default=10, gt=0)
    """Rows of one document at most, so that no book makes up a label."""
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training documents whose paragraphs are for validation."""
    seed: int = 0

    @field_validator("url_patterns")
    @classmethod
    def _patterns_have_groups(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None
            if groups == 0:
                raise ValueError(f"{pattern!r} has no group to name the label")
        return patterns

    def accepts(self, paragraph: Paragraph) -> bool:
        """Whether a paragraph has the right length."""
        return self.min_words <= paragraph.words <= self.max_words

    def usable(self, document: Sequence[Paragraph]) -> int:
        """How many rows a document can give."""
        return min(self.per_document, sum(self.accepts(paragraph) for paragraph in document))

    def rows_of(self, split: str) -> int:
        """Rows of each label in a split."""
        return {"train": self.train_per_label, "validation": self.validation_per_label, "test": self.test_per_label}[
            split
        ]


def label_of(settings: LabelledSettings, url: str) -> str | None:
    """The label of a document, None if no pattern matches."""
    for pattern in settings.url_patterns:
        match = re.search(pattern, url)
        if match:
            return "/".join(group for group in match.groups() if group).lower()
    return None


def task_split(settings: LabelledSettings, shard_split: str, document: str) -> str:
    """The split of a document in this task, from its split in the token shards."""
    if shard_split != TRAIN:
        return "test"
    held_out = keyed.draw(settings.seed, "labelled split", document) < settings.validation_share
    return "validation" if held_out else "train"


def choose_labels(settings: LabelledSettings, counts: Mapping[Place, int]) -> list[str]:
    """The labels of the task, sorted by name: those with the most paragraphs that have half of the rows wanted.

    Args:
        counts: usable paragraphs of each split and label.

    Raises:
        UserError: fewer than two labels have enough paragraphs.
    """
    names = {label for _, label in counts if label is not None}
    least = {split: (settings.rows_of(split) + 1) // 2 for split in SPLITS}
    enough = [name for name in names if all(counts.get((split, name), 0) >= least[split] for split in SPLITS)]
    if len(enough) < 2:
        raise UserError(
            f"{len(enough)} of {len(names)} labels have {'/'.join(map(str, least.values()))} paragraphs of "
            f"{settings.min_words} to {settings.max_words} words in {'/'.join(SPLITS)}, and a task needs two",
            where="tasks.labelled",
            fix="lower train_per_label, validation_per_label, test_per_label, or raise shards.validation_share",
        )
    total = Counter({name: sum(counts.get((split, name), 0) for split in SPLITS) for name in enough})
    return sorted(sorted(enough, key=lambda name: (-total[name], name))[: settings.labels])


class LabelledTask:
    """Collects candidates in one pass over the documents, learns in a second one which stand elsewhere too.

    Memory: two candidates for each row wanted.

    Args:
        settings: the task.
        labels: from `choose_labels`.
    """

    def __init__(self, settings: LabelledSettings, labels: Sequence[str]) -> None:
        self._settings = settings
        self._sample: dict[Place, SmallestKeys[Paragraph]] = {
            (split, label): SmallestKeys(_SPARE * settings.rows_of(split)) for label in labels for split in SPLITS
        }
        self._places: dict[str, set[Place]] = {}

    def offer(self, document: Sequence[Paragraph], place: Place) -> None:
        """First pass: a document whose paragraphs may become rows."""
        if place in self._sample:
            accepted = [p for p in document if self._settings.accepts(p)]
            for draw, p in few(self._settings.seed, "labelled", accepted, self._settings.per_document):
                self._sample[place].add(draw, p.id, p)

    def close(self) -> None:
        """End the first pass."""
        self._places = {p.key: set() for sample in self._sample.values() for p in sample.items()}

    def see(self, document: Sequence[Paragraph], place: Place) -> None:
        """Second pass: every document of the corpus, offered or not."""
        for paragraph in document:
            if paragraph.key in self._places:
                self._places[paragraph.key].add(place)

    def rows(self) -> dict[str, list[dict[str, str]]]:
        """Split -> rows {"text", "label", "id"}, as many of each label, in a keyed order that mixes the labels.

        Raises:
            UserError: all candidates of a label stand elsewhere too.
        """
        result = {}
        for split in SPLITS:
            alone = {
                label: [p for p in sample.items() if len(self._places[p.key]) == 1]
                for (of, label), sample in self._sample.items()
                if of == split
            }
            scarcest = min(alone, key=lambda label: len(alone[label]))
            count = min(len(alone[scarcest]), self._settings.rows_of(split))
            if count == 0:
                raise UserError(
                    f"every {split} paragraph of {scarcest} stands in other documents too",
                    where="tasks.labelled",
                    fix="lower labels, or give other url_patterns",
                )
            rows = [{"text": p.text, "label": str(label), "id": p.id} for label in alone for p in alone[label][:count]]
            result[split] = sorted(rows, key=lambda row: keyed.key(self._settings.seed, "labelled order", row["id"]))
        return result
