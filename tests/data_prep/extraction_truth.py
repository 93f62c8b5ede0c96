"""Pages with known main text, and scores of what an extractor makes of them."""

from __future__ import annotations

import json
import re
import statistics
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard
from lxml import html

Extract = Callable[[bytes], str]
_WORD = re.compile(r"\w+")
_SHINGLE = 4


@dataclass(frozen=True)
class Strings:
    """A page of which some strings must be found and others must not."""

    body: bytes
    required: tuple[str, ...]
    forbidden: tuple[str, ...]


@dataclass(frozen=True)
class Article:
    """A page of which the whole text is known."""

    body: bytes
    text: str


@dataclass(frozen=True)
class Score:
    """Precision and recall, each 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def unpack(root: Path, folder: Path) -> None:
    """Unpack the annotated pages of a data root."""
    with (
        (root / "extract_gt" / "extract_gt.tar.zst").open("rb") as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as plain,
        tarfile.open(fileobj=plain, mode="r|") as archive,
    ):
        archive.extractall(folder, filter="data")


def annotated(folder: Path) -> list[Strings]:
    """The pages with required and forbidden strings."""
    truths = json.loads((folder / "trafilatura" / "annotations.json").read_text(encoding="utf-8"))
    return [
        Strings(
            (folder / "trafilatura" / "html" / truth["file"]).read_bytes(),
            tuple(truth["must_contain"]),
            tuple(truth["must_not_contain"]),
        )
        for truth in truths
    ]


def articles(folder: Path) -> list[Article]:
    """The pages with their text."""
    return [
        Article((path / "source.html").read_bytes(), _all_text((path / "expected.html").read_text(encoding="utf-8")))
        for path in sorted((folder / "readability").iterdir())
    ]


def _all_text(source: str) -> str:
    """The text of HTML, words of neighbouring blocks apart."""
    text: str = html.fromstring(_BLOCK.sub(r" \g<0>", source)).text_content()
    return text


_BLOCK = re.compile(r"</?(?:p|div|section|li|ul|ol|h\d|table|tr|td|th|pre|blockquote|br|dd|dt|figure|figcaption)\b")


def score_strings(extract: Extract, pages: Sequence[Strings]) -> Score:
    """Over all strings, as trafilatura's own evaluation counts."""
    found = kept = wanted = 0
    for page in pages:
        text = extract(page.body)
        wanted += len(page.required)
        found += sum(string in text for string in page.required)
        kept += sum(string in text for string in page.forbidden)
    return Score(found / max(found + kept, 1), found / wanted)


def score_texts(extract: Extract, pages: Sequence[Article]) -> Score:
    """Mean over pages of precision and recall of 4-word shingles, as the article-extraction benchmark counts."""
    precisions, recalls = [], []
    for page in pages:
        truth, text = _shingles(page.text), _shingles(extract(page.body))
        common = (truth & text).total()
        recalls.append(common / truth.total())
        if text:
            precisions.append(common / text.total())
    return Score(statistics.mean(precisions or [0.0]), statistics.mean(recalls))


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text)
    return Counter(tuple(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1)) if words)
