"""The stage that makes the fine-tuning and the multiple-choice task from the corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from data_prep.cloze import ChoiceSettings, ChoiceTask
from data_prep.configfile import Settings
from data_prep.documents import read_rows
from data_prep.labelled import LabelledSettings, LabelledTask, Place, choose_labels, label_of, task_split
from data_prep.manifest import FileRef, Totals
from data_prep.paragraphs import Paragraph, paragraphs
from data_prep.shard_stage import SplitSettings, split_of
from data_prep.stage import Stage, Task, TaskOutput

_PASSES = 3


class TasksSettings(Settings):
    """The two tasks."""

    labelled: LabelledSettings = LabelledSettings()
    choice: ChoiceSettings = ChoiceSettings()


class TasksStageSettings(TasksSettings):
    """`TasksSettings`, and the split of the token shards, which both tasks respect."""

    shards: SplitSettings


class TasksStage(Stage):
    """Documents to `labelled/{train,validation,test}.jsonl`, `labelled/labels.json`, `choice/test.jsonl`.

    `labels.json` is {"labels": [...]}, sorted: the position of a label is its class number. One task, three passes over
    the documents: count labels, sample paragraphs, find samples that stand elsewhere too. Memory: one count a label and
    split, two candidates a row, the paragraphs of one document.
    """

    name = "tasks"
    settings: TasksStageSettings

    def plan(self) -> list[Task]:
        """One task that sees all documents."""
        return [Task(0, {"documents": self.inputs["documents"]}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Make both tasks."""
        refs = task.inputs["documents"]
        settings = self.settings.labelled
        counts: Counter[Place] = Counter()
        for document, place in self._documents(refs, 0, out):
            counts[place] += settings.usable(document)
        labels = choose_labels(settings, counts)
        labelled, choice = LabelledTask(settings, labels), ChoiceTask(self.settings.choice)
        for document, place in self._documents(refs, 1, out):
            labelled.offer(document, place)
            choice.offer(document, place[0] == "test")
        labelled.close()
        choice.close()
        for document, place in self._documents(refs, 2, out):
            labelled.see(document, place)
            choice.see(document, place[0] == "test")
        out.file("labelled/labels.json").write(orjson.dumps({"labels": labels}) + b"\n")
        for split, rows in labelled.rows().items():
            _write(out, f"labelled/{split}", rows)
        _write(out, "choice/test", choice.rows())
        out.extra["labels"] = len(labels)

    def _documents(
        self, refs: Sequence[FileRef], number: int, out: TaskOutput
    ) -> Iterator[tuple[list[Paragraph], Place]]:
        """Pass `number`: of each document the paragraphs that either task may want, its split and label."""
        settings = self.settings
        least = min(settings.labelled.min_words, settings.choice.context_words + settings.choice.ending_words)
        total = sum(ref.rows or 0 for ref in refs)
        done = 0
        for ref in refs:
            for row in read_rows(ref.path, ["id", "url", "text"]):
                split = task_split(settings.labelled, split_of(settings.shards, row["id"]), row["id"])
                place = (split, label_of(settings.labelled, row["url"]))
                yield list(paragraphs(row["id"], row["text"], least)), place
                done += 1
                out.advance(number * total + done, _PASSES * total, "documents")
        out.rows_in = done

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Number of labels and rows."""
        return dict(totals.extra)


def _write(out: TaskOutput, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    handle = out.file(f"{name}.jsonl")
    for row in rows:
        handle.write(orjson.dumps(row) + b"\n")
    out.extra[f"{name}_rows"] = len(rows)
    out.rows_out += len(rows)
