"""Stage 4, filter: an ordered list of rules over single documents; the first that objects removes the document.

A rule is a function `(document, its settings) -> Drop | None` in a file of its own. To add one, write that file and
name it in `FilterSettings` and `verdict`.
"""

from __future__ import annotations

from data_prep.configfile import Settings
from data_prep.documents import DOCUMENT, Document, read_rows
from data_prep.drop import Drop
from data_prep.language import LanguageSettings, language
from data_prep.length import LengthSettings, length
from data_prep.manifest import FileRef
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.wikipedia import WikipediaSettings, wikipedia


class FilterSettings(Settings):
    """The settings of every rule."""

    wikipedia: WikipediaSettings = WikipediaSettings()
    length: LengthSettings = LengthSettings()
    language: LanguageSettings = LanguageSettings()


def verdict(document: Document, settings: FilterSettings) -> Drop | None:
    """What the first rule says that objects; cheap rules come first. Sets the document's language on the way."""
    return (
        wikipedia(document, settings.wikipedia)
        or length(document, settings.length)
        or language(document, settings.language)
    )


class FilterStage(Stage):
    """Documents -> documents that pass every rule, one task per file. Holds a few hundred documents in memory."""

    name = "filter"
    is_filter = True

    def __init__(
        self, folder: str, settings: FilterSettings, inputs: dict[str, list[FileRef]], upstream: dict[str, str]
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.rules = settings

    def plan(self) -> list[Task]:
        """One task per file of documents."""
        return self.one_task_per_file("documents")

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Filter one file."""
        ref = task.inputs["documents"][0]
        kept = out.rows(f"part-{task.index:05d}.parquet", DOCUMENT)
        for document in read_rows(ref.path):
            out.rows_in += 1
            out.advance(out.rows_in, ref.rows or out.rows_in, "documents")
            drop = verdict(document, self.rules)
            if drop is None:
                kept.add(document)
                out.rows_out += 1
            else:
                out.drop(drop.reason, id=document["id"], url=document["url"], score=drop.score, detail=drop.detail)
