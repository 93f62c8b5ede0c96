"""Stage 4, filter: an ordered list of rules over single documents; the first that objects removes the document.

A rule is a function `(document, its settings) -> Drop | Change | None` in a file of its own in `data_prep/filters/`. To
add one, write that file and name it in `FilterSettings` and `rules`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from data_prep.configfile import Settings
from data_prep.documents import DOCUMENT, Document, read_rows
from data_prep.drop import Drop, Verdict
from data_prep.filters.blocklist import BlocklistSettings, blocklist
from data_prep.filters.c4 import C4Settings, c4
from data_prep.filters.fineweb import FineWebSettings, fineweb
from data_prep.filters.gopher_quality import GopherQualitySettings, gopher_quality
from data_prep.filters.gopher_repetition import GopherRepetitionSettings, gopher_repetition
from data_prep.filters.language import LanguageSettings, language
from data_prep.filters.length import LengthSettings, length
from data_prep.filters.pii import PiiSettings, pii
from data_prep.filters.wikipedia import WikipediaSettings, wikipedia, wikipedia_overlap
from data_prep.manifest import FileRef
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.wikipedia_sample import WikipediaSample

Rule = Callable[[Document], Verdict]


class FilterSettings(Settings):
    """The settings of every rule; null (or not given) leaves a rule out, `{}` takes its paper's values."""

    blocklist: BlocklistSettings | None = None
    wikipedia: WikipediaSettings | None = None
    length: LengthSettings | None = None
    language: LanguageSettings | None = None
    gopher_quality: GopherQualitySettings | None = None
    gopher_repetition: GopherRepetitionSettings | None = None
    c4: C4Settings | None = None
    fineweb: FineWebSettings | None = None
    pii: PiiSettings | None = None

    def expanded(self) -> FilterSettings:
        """With what lists say in place of their names, so that the settings' digest covers it.

        Raises:
            UserError: a list cannot be read.
        """
        return self.model_copy(
            update={
                "blocklist": self.blocklist and self.blocklist.expanded(),
                "wikipedia": self.wikipedia and self.wikipedia.expanded(),
                "c4": self.c4 and self.c4.expanded(),
            }
        )


def rules(settings: FilterSettings, sample: WikipediaSample | None = None) -> list[Rule]:
    """The rules that are on, in their order: cheap ones first, those for one language after the language.

    Args:
        settings: expanded.
        sample: for Wikipedia's text overlap; None leaves that rule out.
    """
    overlap = partial(wikipedia_overlap, sample=sample) if sample is not None else _nothing
    order: list[tuple[Callable[..., Verdict], Settings | None]] = [
        (blocklist, settings.blocklist),
        (wikipedia, settings.wikipedia),
        (length, settings.length),
        (language, settings.language),
        (gopher_quality, settings.gopher_quality),
        (gopher_repetition, settings.gopher_repetition),
        (overlap, settings.wikipedia),
        (c4, settings.c4),
        # What C4 took lines out of may be too short now.
        (length, settings.length if settings.c4 else None),
        (fineweb, settings.fineweb),
        (pii, settings.pii),
    ]
    return [partial(rule, settings=own) for rule, own in order if own is not None and rule is not _nothing]


def _nothing(document: Document, settings: Settings) -> None:
    return None


def verdict(document: Document, rules: list[Rule], counts: Counter[str]) -> Drop | None:
    """What the first rule says that objects, or None. Makes the changes of the rules before it.

    Args:
        document: its text, language and metadata may be changed.
        rules: in their order.
        counts: what was changed is added to them, if the document stays.
    """
    changed: Counter[str] = Counter()
    for rule in rules:
        said = rule(document)
        if isinstance(said, Drop):
            return said
        if said is not None:
            document["text"] = said.text
            changed.update(said.counts)
            if said.metadata:
                metadata: dict[str, Any] = orjson.loads(document["metadata"])
                document["metadata"] = orjson.dumps({**metadata, **said.metadata}).decode()
    counts.update(changed)
    return None


class FilterStage(Stage):
    """Documents -> documents that pass every rule, one task per file.

    Memory: a few hundred documents and, shared by all workers of a machine, the n-grams of the sample of Wikipedia
    (`data_prep.wikipedia_sample`).
    """

    name = "filter"
    revision = 2
    is_filter = True

    def __init__(
        self, folder: str, settings: FilterSettings, inputs: dict[str, list[FileRef]], upstream: dict[str, str]
    ) -> None:
        self.rules = settings.expanded()
        super().__init__(folder, self.rules, inputs, upstream)

    def plan(self) -> list[Task]:
        """One task per file of documents."""
        return self.one_task_per_file("documents", shared=["wikipedia"] if "wikipedia" in self.inputs else [])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Filter one file."""
        ref = task.inputs["documents"][0]
        sample = task.inputs.get("wikipedia", ())
        active = rules(self.rules, WikipediaSample(sample[0].path) if sample else None)
        kept = out.rows(f"part-{task.index:05d}.parquet", DOCUMENT)
        for document in read_rows(ref.path):
            out.rows_in += 1
            out.advance(out.rows_in, ref.rows or out.rows_in, "documents")
            drop = verdict(document, active, out.extra)
            if drop is None:
                kept.add(document)
                out.rows_out += 1
            else:
                out.drop(drop.reason, id=document["id"], url=document["url"], score=drop.score, detail=drop.detail)
