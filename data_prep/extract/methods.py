"""The extractors: an HTML page -> its main text and what made it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import trafilatura
from resiliparse.extract.html2text import extract_plain_text

from data_prep.extract import density
from data_prep.extract.settings import ExtractSettings

# trafilatura and lxml log about every odd page; the counts by reason say it once.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)

_CLEAR = 0.75
"""Overlap (see `density`) from which a page counts as clearly divided. Ours; one in eight articles is below."""
_MIN_TEXT = 250
"""Characters of the shortest text that `cascade` takes from `density`: trafilatura's own least size of a text."""
_AGREED = 0.5
"""Share of the shorter text that `combined` asks two extractors to agree upon."""


@dataclass(frozen=True)
class Page:
    """A parsed page.

    Attributes:
        html: its characters.
        root: lxml's tree of them.
    """

    html: str
    root: Any


Method = Callable[[Page], tuple[str, str]]
"""Page -> (text, extractor and version that made it); the text is "" if there is none."""


def method(settings: ExtractSettings) -> Method:
    """The extractor that the settings name."""
    return _METHODS[settings.extractor](settings)


def _trafilatura(settings: ExtractSettings, **options: Any) -> Method:
    name = f"{settings.extractor if not options.get('fast') else 'trafilatura-fast'} {version('trafilatura')}"

    def run(page: Page) -> tuple[str, str]:
        # It takes the characters and not our tree, which it would copy: that takes as long as to parse.
        found: Any = trafilatura.bare_extraction(
            page.html,
            include_comments=settings.comments,
            include_tables=settings.tables,
            with_metadata=False,
            **options,
        )
        if not found:
            return "", name
        parts = [found.text or "", found.comments or "" if settings.comments else ""]
        return "\n".join(part for part in parts if part), name

    return run


def _resiliparse(settings: ExtractSettings) -> Method:
    name = f"resiliparse {version('resiliparse')}"
    skipped = [] if settings.tables else ["table"]

    def run(page: Page) -> tuple[str, str]:
        text = extract_plain_text(
            page.html,
            main_content=True,
            preserve_formatting=True,
            list_bullets=False,
            alt_texts=False,
            comments=settings.comments,
            skip_elements=skipped,
        )
        return _BLANK_LINES.sub("\n", text).strip(), name

    return run


_BLANK_LINES = re.compile(r"\n\s*\n")


def _density(settings: ExtractSettings) -> Method:
    def run(page: Page) -> tuple[str, str]:
        found = density.main_text(_body(page.root), settings.comments, settings.tables)
        return found.text, f"density {density.VERSION}"

    return run


def _cascade(settings: ExtractSettings) -> Method:
    fallback = _trafilatura(settings, fast=True)

    def run(page: Page) -> tuple[str, str]:
        found = density.main_text(_body(page.root), settings.comments, settings.tables)
        if found.clearness >= _CLEAR and len(found.text) >= _MIN_TEXT:
            return found.text, f"density {density.VERSION}"
        text, name = fallback(page)
        return (text, name) if text else (found.text, f"density {density.VERSION}")

    return run


def _combined(settings: ExtractSettings) -> Method:
    first, second = _trafilatura(settings, fast=True), _resiliparse(settings)

    def run(page: Page) -> tuple[str, str]:
        (a, a_name), (b, b_name) = first(page), second(page)
        return combine(a, b), f"{a_name} + {b_name}"

    return run


def combine(careful: str, complete: str) -> str:
    """What two extractors agree upon.

    The lines of `careful` whose text also stands in `complete`, if they are more than half of the shorter of the two;
    else the page is one they read differently, and `careful` stands as it is, or if it is empty `complete`.
    """
    if not careful.strip():
        return complete
    held = _squeezed(complete)
    lines = [line for line in careful.split("\n") if _squeezed(line) in held]
    agreed = sum(map(len, lines))
    return "\n".join(lines) if agreed > _AGREED * min(len(careful), len(complete)) else careful


def _squeezed(text: str) -> str:
    """Letters and digits alone, so that spacing, bullets and cell marks do not count."""
    return _NO_WORD.sub("", text)


_NO_WORD = re.compile(r"[\W_]+")


def _body(root: Any) -> Any:
    body = root.find("body")
    return root if body is None else body


_METHODS: dict[str, Callable[[ExtractSettings], Method]] = {
    "trafilatura": lambda settings: _trafilatura(settings),
    "trafilatura-fast": lambda settings: _trafilatura(settings, fast=True),
    "trafilatura-precision": lambda settings: _trafilatura(settings, favor_precision=True),
    "resiliparse": _resiliparse,
    "density": _density,
    "combined": _combined,
    "cascade": _cascade,
}
