"""The two stages of the quality filter: fit the classifier, then drop documents by a keyed draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import xxhash
from pydantic import Field

from data_prep import keyed, store
from data_prep.configfile import Count, Settings
from data_prep.documents import DOCUMENT, read_rows
from data_prep.errors import UserError
from data_prep.manifest import FileRef, Totals
from data_prep.paragraphs import SmallestKeys
from data_prep.quality.measure import BINS, quality_of_scores
from data_prep.quality.model import QualityModel, Row, features, fit
from data_prep.raw_input import raw_files
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.wikipedia_sample import texts

MODEL, REPORT = "model.safetensors", "model.json"
LOW_QUALITY = "low-quality"
_LABELS = ("negative", "positive")


class QualityModelSettings(Settings):
    """What the classifier learns from."""

    positive: tuple[str, ...] = Field(min_length=1)
    """Good documents: Parquet (column `text`), JSON lines (field `text`) or plain text, the latter two also compressed;
    paths, folders or globs. A file of plain text is a document, a long one a document for each Mi of characters."""
    negative: tuple[str, ...] = Field(min_length=1)
    """Documents as they come, likewise."""
    documents: Count = Field(default=100_000, gt=0)
    """Documents of each set to learn from and to measure at most; of a larger set a keyed sample."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of them on which the model is not fitted but measured."""
    strength: float = Field(default=0.01, gt=0)
    """Of the regularisation: factor of half the squared norm of the weights, beside the mean log loss."""
    seed: int = 0
    """Of the samples."""


class KeepSettings(Settings):
    """How scores decide."""

    alpha: float = Field(default=9.0, gt=0)
    """Of the Pareto distribution: a document is kept with probability (2 - score)^-alpha."""
    seed: int = 0
    """Of the draw by which documents are kept."""


class QualitySettings(KeepSettings, QualityModelSettings):
    """Both."""


class QualityModelStage(Stage):
    """Two sets of documents to `model.safetensors` and `model.json` (measures on held-out documents), in one task.

    A text that stands more than once in a set counts once. Memory: 8 bytes for each distinct word of each document that
    is learned from, five times while the model is fitted.
    """

    name = "quality-model"
    settings: QualityModelSettings

    def plan(self) -> list[Task]:
        """One task that reads both sets.

        Raises:
            UserError: a file is not there.
        """
        return [Task(0, {name: raw_files(f"quality.{name}", getattr(self.settings, name)) for name in _LABELS}, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Sample, fit, measure.

        Raises:
            UserError: a file holds no documents, or a set too few.
            CorruptFile: a file is cut short or damaged.
        """
        learned: list[Row] = []
        good: list[bool] = []
        measured: list[tuple[Row, bool]] = []
        for label in _LABELS:
            fitted, held_out = self._sample(label, task.inputs[label], out)
            out.extra[f"{label}:learned"], out.extra[f"{label}:measured"] = len(fitted), len(held_out)
            learned += fitted
            good += [label == "positive"] * len(fitted)
            measured += [(row, label == "positive") for row in held_out]
        model = fit(learned, np.array(good), self.settings.strength)
        scores = np.array([model.score(row) for row, _ in measured])
        report = quality_of_scores(scores, np.array([label for _, label in measured]))
        out.file(MODEL).write(model.to_bytes())
        out.file(REPORT).write(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        out.rows_out = len(learned) + len(measured)

    def _sample(self, label: str, refs: Sequence[FileRef], out: TaskOutput) -> tuple[list[Row], list[Row]]:
        """Documents to fit on and documents to measure on."""
        sample: SmallestKeys[tuple[str, Row]] = SmallestKeys(self.settings.documents)
        for number, ref in enumerate(refs):
            for text in texts(ref):
                out.rows_in += 1
                out.advance(_LABELS.index(label) + number / len(refs), len(_LABELS), "sets")
                id = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
                sample.add(keyed.key(self.settings.seed, "quality sample", id), id, (id, features(text)))
        parts: tuple[list[Row], list[Row]] = ([], [])
        for id, row in sample.items():
            parts[keyed.draw(self.settings.seed, "quality held out", id) < self.settings.held_out].append(row)
        if not all(parts):
            raise UserError(
                f"{len(sample.items()):,} distinct documents are too few to fit a model and to measure it",
                where=f"quality.{label}",
                fix="give more documents, or another quality.held_out",
            )
        return parts

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """The measures, without the table."""
        (path,) = [ref.path for ref in outputs if ref.path.endswith(REPORT)]
        report = store.read_json(path)
        return {
            **totals.extra,
            **{name: round(report[name], 4) for name in ("auc", "accuracy", "log_loss", "calibration_error")},
        }


class QualityStage(Stage):
    """Documents of one file to those that are kept: pareto(alpha) > 1 - score, with a draw keyed by the document's id.

    numpy's `pareto` (Lomax), as in the paper, by its inverse: (1 - u)^(-1/alpha) - 1 for u uniform in [0, 1). The score
    goes into the metadata (`quality`) and into the removal log. Memory: the model (1 MiB) and a few hundred documents.
    """

    name = "quality"
    is_filter = True
    settings: KeepSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=["model"])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Score and draw."""
        (source,), (saved,) = task.inputs["documents"], task.inputs["model"]
        model = QualityModel.from_bytes(store.read_bytes(saved.path), saved.path)
        kept = out.rows(f"part-{task.index:05d}.parquet", DOCUMENT)
        for document in read_rows(source.path):
            out.rows_in += 1
            out.advance(out.rows_in, source.rows or out.rows_in, "documents")
            score = model.score(features(document["text"]))
            tenth = min(int(score * BINS), BINS - 1)
            if is_kept(score, self.settings.alpha, keyed.draw(self.settings.seed, "quality", document["id"])):
                facts = {**orjson.loads(document["metadata"]), "quality": round(score, 4)}
                kept.add({**document, "metadata": orjson.dumps(facts).decode()})
                out.rows_out += 1
                out.extra[f"{tenth}:kept"] += 1
            else:
                out.drop(LOW_QUALITY, id=document["id"], url=document["url"], score=score)
            out.extra[f"{tenth}:read"] += 1

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """Kept of read, by tenths of the score."""
        counts = Counter(totals.extra)
        return {
            f"score {tenth / BINS:.1f} to {(tenth + 1) / BINS:.1f}": f"kept {counts[f'{tenth}:kept']:,} of "
            f"{counts[f'{tenth}:read']:,}"
            for tenth in range(BINS)
            if counts[f"{tenth}:read"]
        }


def pareto(alpha: float, uniform: float) -> float:
    """The quantile of numpy's `pareto(alpha)` (Lomax) at `uniform` in [0, 1)."""
    return float((1.0 - uniform) ** (-1.0 / alpha) - 1.0)


def is_kept(score: float, alpha: float, uniform: float) -> bool:
    """GPT-3's rule (appendix A): pareto(alpha) > 1 - score."""
    return pareto(alpha, uniform) > 1.0 - score
