"""What a rule says about a document: remove it, change it, or (None) leave it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Drop:
    """A verdict to remove.

    Attributes:
        reason: short name that the counts and the removal log carry.
        score: the number that decided, if there is one.
        detail: what a reader of the log needs beside it (the domain found, the language detected).
    """

    reason: str
    score: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Change:
    """A verdict to keep the document with another text.

    Attributes:
        text: the new text.
        counts: what was changed how often; added to the counts of the stage.
        metadata: facts to write into the document's metadata.
    """

    text: str
    counts: Mapping[str, int]
    metadata: Mapping[str, Any] = field(default_factory=dict)


Verdict = Drop | Change | None
