"""GPT-2's overlap table (section 4): the share of an evaluation set's 8-grams that also stand in the corpus.

Stages: the n-grams of the sets -> which of them stand in each file of documents -> the table. By the method `bloom` the
middle one does what the paper did: the n-grams of the corpus go into a Bloom filter, and those of the sets are looked
up in it. It finds the same and needs 38 bits for each n-gram of the corpus, instead of none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from data_prep import store
from data_prep.configfile import Settings
from data_prep.dedup.exact import PartitionSettings
from data_prep.documents import read_rows
from data_prep.manifest import FileRef, Totals
from data_prep.ngrams import Form, NgramSet, ngram_hashes
from data_prep.overlap.bloom import RANDOM_STRINGS, NgramBloom, random_strings
from data_prep.overlap.evaluation import DISTINCT, EvaluationNgramsStage, read_distinct, read_ngrams
from data_prep.stage import Stage, Task, TaskOutput

FORM: Form = "alphanumeric"
TABLE = "overlap.json"
WEBTEXT = {"ptb": 0.88, "wikitext2": 1.63, "enwik8": 6.31, "text8": 3.94, "wikitext103": 2.42, "1bw": 3.75}
"""Table 6 of GPT-2: percentage of the 8-grams of each test set that WebText's training set holds."""


_FILTER_BYTES = 256 << 20
"""Compressed documents whose n-grams share a filter; of English, half a GiB of it at 1e-8."""


class OverlapSettings(Settings):
    """How overlap is measured."""

    ngram: int = Field(default=8, gt=0, le=64)
    """Words in an n-gram."""
    method: Literal["exact", "bloom"] = "exact"
    """`bloom`: with false positives, as the paper did."""
    false_positives: float = Field(default=1e-8, gt=0, lt=1)
    """Bound of their rate, for `bloom`."""


class HitsSettings(OverlapSettings, PartitionSettings):
    """`OverlapSettings`, and into how many Bloom filters the n-grams of the corpus are divided at most."""


class OverlapNgramsStage(EvaluationNgramsStage):
    """The n-grams of the evaluation sets in GPT-2's form."""

    name = "overlap-ngrams"
    form = FORM


class ExactHitsStage(Stage):
    """Documents of one file to those n-grams of the evaluation sets that stand in them.

    Memory: 25 bytes for each distinct n-gram of the sets.
    """

    name = "overlap-hits"
    settings: HitsSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=["distinct"])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Look up all n-grams of one file."""
        wanted = read_distinct(task.inputs["distinct"])
        ngrams = NgramSet(wanted, self.settings.ngram, FORM)
        found = np.zeros(len(wanted), bool)
        for text in _texts(task, out):
            found[ngrams.find(text).index] = True
        _write(out, task, wanted[found])


class BloomHitsStage(Stage):
    """All documents to those n-grams of the evaluation sets that a Bloom filter finds among theirs.

    A task has the n-grams of one partition (by hash), so that its filter is a fraction of the whole; each task reads
    all documents twice, to count and to fill. Memory: at 1e-8 false positives 38 bits for each n-gram of the partition.
    """

    name = "overlap-hits"
    settings: HitsSettings

    def plan(self) -> list[Task]:
        """So many partitions that each has the n-grams of about `_FILTER_BYTES`, but no more than `partitions`."""
        size = sum(ref.bytes or 0 for ref in self.inputs["documents"])
        parts = max(1, min(self.settings.partitions, -(-size // _FILTER_BYTES)))
        return [Task(p, self.inputs, {"partition": p, "partitions": parts}) for p in range(parts)]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Fill the filter of one partition, ask it for the sets and for strings that are not in the corpus."""
        settings = self.settings
        parts, mine = np.uint64(task.params["partitions"]), np.uint64(task.params["partition"])

        def hashes(text: str) -> Any:
            every = ngram_hashes(text, settings.ngram, FORM)
            return every[every % parts == mine]

        bloom = NgramBloom(sum(len(hashes(text)) for text in _texts(task, out)), settings.false_positives)
        out.rows_in = 0
        for text in _texts(task, out):
            bloom.add(hashes(text))
        wanted = read_distinct(task.inputs["distinct"])
        wanted = wanted[wanted % parts == mine]
        strangers = random_strings(settings.ngram, FORM)
        strangers = strangers[strangers % parts == mine]
        out.extra["random_strings"] = len(strangers)
        out.extra["false_positives"] = int(bloom.holds(strangers).sum())
        _write(out, task, wanted[bloom.holds(wanted)])

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """The error of the filters, as it was measured."""
        assert totals.extra["random_strings"] == RANDOM_STRINGS
        return {"false positives": f"{totals.extra['false_positives']:,} of {RANDOM_STRINGS:,} random strings"}


class OverlapStage(Stage):
    """The n-grams of the sets and those that were found to `overlap.json`, in one task.

    A row for each set: "set", "ngrams" (its n-grams, repeats included), "found" (of these, those that stand in the
    corpus), "percent", the same of distinct n-grams ("distinct", "distinct_found", "distinct_percent"), and
    "webtext_percent": what GPT-2 found for WebText, null for a set that is not in its table. Memory: some 60 bytes for
    each distinct n-gram of the sets.
    """

    name = "overlap"
    settings: HitsSettings

    def plan(self) -> list[Task]:
        """One task."""
        return [Task(0, self.inputs, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Count what was found."""
        ngrams = read_ngrams(task.inputs["ngrams"])
        hits = read_distinct(task.inputs["hits"])
        rows = []
        for name in ngrams.column("set").unique().sort().to_pylist():
            mine = ngrams.filter(pa.compute.equal(ngrams.column("set"), name))
            count = mine.column("count").to_numpy()
            found = np.isin(mine.column("hash").to_numpy(), hits)
            rows.append(_row(name, int(count.sum()), int(count[found].sum()), len(count), int(found.sum())))
        out.rows_in, out.rows_out = ngrams.num_rows, sum(row["distinct_found"] for row in rows)
        out.file(TABLE).write(store.canonical_json(rows))

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """The table, a line for each set."""
        (path,) = [ref.path for ref in outputs if ref.path.endswith(TABLE)]
        n = self.settings.ngram
        lines = {}
        for row in store.read_json(path):
            paper = "" if row["webtext_percent"] is None else f"; WebText (GPT-2): {row['webtext_percent']:.2f} %"
            lines[row["set"]] = (
                f"{row['percent']:.2f} % ({row['found']:,} of {row['ngrams']:,} {n}-grams), "
                f"of distinct ones {row['distinct_percent']:.2f} %{paper}"
            )
        return lines


def _row(name: str, ngrams: int, found: int, distinct: int, distinct_found: int) -> dict[str, Any]:
    return {
        "set": name,
        "ngrams": ngrams,
        "found": found,
        "percent": 100 * found / ngrams,
        "distinct": distinct,
        "distinct_found": distinct_found,
        "distinct_percent": 100 * distinct_found / distinct,
        "webtext_percent": WEBTEXT.get(re.sub(r"[\W_]", "", name.lower())),
    }


def _texts(task: Task, out: TaskOutput) -> Iterator[str]:
    total = sum(ref.rows or 0 for ref in task.inputs["documents"])
    for ref in task.inputs["documents"]:
        for row in read_rows(ref.path, ["text"]):
            out.rows_in += 1
            out.advance(out.rows_in, total or out.rows_in, "documents")
            yield row["text"]


def _write(out: TaskOutput, task: Task, hits: Any) -> None:
    out.rows(f"part-{task.index:05d}.parquet", DISTINCT).add_table(pa.table([hits], schema=DISTINCT))
    out.rows_out = len(hits)
