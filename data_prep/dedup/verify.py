"""Candidate pairs to edges between documents whose exact Jaccard similarity reaches the threshold.

A task takes the pairs whose smaller document lies in its files. It holds the n-grams of as many of these documents as
fit into a fixed memory and passes over the texts of their partners, then takes the next. So the whole corpus is never
in memory; texts are read once for each task and each filling of its memory, groups of rows without a candidate never.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.dedup import keep, numbers
from data_prep.dedup.bands import distinct
from data_prep.dedup.jaccard import ShingleSets, similarities
from data_prep.dedup.near import EDGE, edge_table
from data_prep.dedup.settings import VerifySettings
from data_prep.dedup.shingles import Numbers
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Stage, Task, TaskOutput

_SET_BYTES = 256 << 20
_TASK_PAIRS = 1 << 18
"""So that a small corpus is not read by many tasks for few pairs each."""


class NearVerifyStage(Stage):
    """Compares candidate pairs. Memory: 256 MiB of n-grams, some 60 bytes a pair of one task, a group of rows."""

    name = "near-verify"
    settings: VerifySettings

    def plan(self) -> list[Task]:
        """A task for so many files of documents that `partitions` or fewer suffice; fewer if there are few pairs."""
        pairs = sum(ref.rows or 0 for ref in self.inputs["pairs"])
        files = len(self.inputs["documents"])
        count = max(1, min(self.settings.partitions, files, math.ceil(pairs / _TASK_PAIRS)))
        return [
            Task(i, self.inputs, {"first_file": files * i // count, "end_file": files * (i + 1) // count})
            for i in range(count)
        ]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Compare the pairs whose smaller document is in the task's files."""
        low, high = (task.params[name] << numbers.FILE_SHIFT for name in ("first_file", "end_file"))
        mine = (pc.field("left") >= low) & (pc.field("left") < high)
        table = keep.read_table(task.inputs["pairs"], EDGE, mine)
        left, right = distinct(table.column("left").to_numpy(), table.column("right").to_numpy())
        del table
        writer = out.rows(f"part-{task.index:05d}.parquet", EDGE)
        out.rows_in = len(left)
        for first, end, sets in self._fillings(task, np.unique(left)):
            chosen = slice(int(np.searchsorted(left, first)), int(np.searchsorted(left, end, side="right")))
            value = self._compare(task, sets, left[chosen], right[chosen])
            near = value >= self.settings.threshold
            writer.add_table(edge_table(left[chosen][near], right[chosen][near], pa.array(value[near])))
            out.rows_out += int(near.sum())
            out.advance(chosen.stop, len(left), "pairs")

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """How many pairs were compared, and how many are near-duplicates."""
        return {"pairs": totals.rows_in, "near_duplicate_pairs": totals.rows_out}

    def _fillings(self, task: Task, wanted: Numbers) -> Iterator[tuple[int, int, ShingleSets]]:
        """First and last document of each filling of the memory, and the sets of those wanted between them."""
        done, parts, size = 0, list[ShingleSets](), 0
        for document, texts in self._texts(task, wanted):
            parts.append(ShingleSets.of(texts, self.settings.ngram))
            size += parts[-1].hashes.nbytes
            if size >= _SET_BYTES or document[-1] == wanted[-1]:
                end = int(np.searchsorted(wanted, document[-1]))
                yield int(wanted[done]), int(wanted[end]), ShingleSets.together(parts)
                done, parts, size = end + 1, [], 0

    def _compare(self, task: Task, sets: ShingleSets, left: Numbers, right: Numbers) -> npt.NDArray[np.float64]:
        """[n] similarity of pairs; `sets` are those of the distinct documents of `left`."""
        left_at = np.unique(left, return_inverse=True)[1]
        order = np.argsort(right, kind="stable")
        partner = right[order]
        value = np.empty(len(left), np.float64)
        for document, texts in self._texts(task, np.unique(right)):
            start, end = np.searchsorted(partner, document[0]), np.searchsorted(partner, document[-1], side="right")
            at = order[start:end]
            others = ShingleSets.of(texts, self.settings.ngram)
            value[at] = similarities(sets, others, left_at[at], np.searchsorted(document, right[at]))
        return value

    def _texts(self, task: Task, wanted: Numbers) -> Iterator[Any]:
        return numbers.texts(wanted, task.inputs["documents"], task.inputs.get("against", ()))
