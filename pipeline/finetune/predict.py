"""Predictions of a fine-tuned checkpoint for new texts, in one process and without DeepSpeed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import TOKENIZER, open_checkpoint
from pipeline.config.task_data import Kind, Target
from pipeline.finetune.examples import Encoded
from pipeline.finetune.heads import TaskModel
from pipeline.finetune.metrics import log_probabilities, measure, predictions
from pipeline.finetune.origin import TASK, body_of
from pipeline.finetune.scores import Scores, batches_by_length
from pipeline.finetune.tasks.form import usual_metrics
from pipeline.finetune.text_rows import TextRow

CHUNK_BATCHES = 16
"""Batches that are read, sorted by length and predicted at once."""


class Predictor:
    """A fine-tuned model that scores texts.

    Args:
        checkpoint: folder of a checkpoint of fine-tuning.
        batch_size: examples per forward pass.

    Attributes:
        kind: form of its inputs.
        target: what it predicts.
        labels: names of the classes; empty for scores and choices.
        length: tokens of context.

    Raises:
        UserError: the checkpoint is missing, damaged or not one of fine-tuning.
    """

    def __init__(self, checkpoint: str, batch_size: int) -> None:
        folder, manifest = open_checkpoint(checkpoint)
        if manifest.kind != "finetune" or TASK not in manifest.model:
            raise UserError(
                f"this checkpoint was written by {manifest.kind}: it has no head for a task",
                where=checkpoint,
                fix="give one of fine-tuning",
            )
        task: dict[str, Any] = manifest.model[TASK]
        self.kind: Kind = task["kind"]
        self.target: Target = task["target"]
        self.labels: list[str] = task["labels"]
        self.batch_size = batch_size
        shape, vocab_size = body_of(manifest, 0.0, checkpoint)
        self.length = shape.sequence_length
        self._tokenizer = Tokenizer.load(str(folder / TOKENIZER))
        model = TaskModel(shape, vocab_size, self.kind, self.target, len(self.labels) or 1, aux_lm=0.0, dropout=0.0)
        model.load_state_dict(read_weights(folder, manifest))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()

    def encode(self, texts: Sequence[Sequence[str]]) -> Encoded:
        """Token sequences of examples."""
        return Encoded(texts, self.kind, self._tokenizer, self.length)

    @torch.no_grad()
    def scores(self, encoded: Encoded) -> Scores:
        """[n, classes or most candidates]; -inf for candidates that are none."""
        width = encoded.most_rows if self.kind == "choice" else len(self.labels) or 1
        found = np.full((len(encoded), width), -np.inf)
        for numbers in batches_by_length(encoded, self.batch_size):
            batch = {name: tensor.to(self._device) for name, tensor in encoded.batch(numbers).items()}
            scores = self._model(**batch)["scores"].double().cpu().numpy()
            found[numbers, : scores.shape[1]] = scores
        return found


def answer(predictor: Predictor, scores: Scores, candidates: int) -> dict[str, Any]:
    """What is said of one example.

    Args:
        predictor: gives kind, target and labels.
        scores: [classes or most candidates] of the example.
        candidates: how many the example has.

    Returns:
        `score`; or `label`, the name of the class or the position of the candidate, and `probabilities`, by name or by
        position.
    """
    if predictor.target == "score":
        return {"score": float(scores[0])}
    best = int(predictions(scores[None], predictor.target)[0])
    probabilities = np.exp(log_probabilities(scores[None]))[0].tolist()
    if predictor.kind == "choice":
        return {"label": best, "probabilities": probabilities[:candidates]}
    return {
        "label": predictor.labels[best],
        "probabilities": dict(zip(predictor.labels, probabilities, strict=True)),
    }


class Tally:
    """Counts of what was predicted, and metrics of the rows whose label is given."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._rows = self._truncated = self._unusable = self._unknown = 0
        self._scores: list[Scores] = []
        self._labels: list[float] = []

    def add(self, row: TextRow, scores: Scores | None, truncated: bool) -> None:
        """Count one row; without scores it could not be predicted."""
        self._rows += 1
        self._truncated += truncated
        if scores is None:
            self._unusable += 1
        elif row.label is not None:
            number = self._number(row.label, len(row.texts) - 1)
            if number is None:
                self._unknown += 1
            else:
                self._scores.append(scores)
                self._labels.append(number)

    def _number(self, label: str, candidates: int) -> float | None:
        """A label as the model counts it; None if it is none of its labels."""
        if self._predictor.labels:
            return self._predictor.labels.index(label) if label in self._predictor.labels else None
        try:
            value = float(label)
        except ValueError:
            return None
        return value if self._predictor.target == "score" or value in range(candidates) else None

    def lines(self) -> list[str]:
        """What people are told at the end."""
        found = f"{self._rows:,} rows"
        if self._truncated:
            found += f"; {self._truncated:,} cut to a context of {self._predictor.length} tokens"
        if self._unusable:
            found += f"; {self._unusable:,} with an empty text have no prediction"
        if self._unknown:
            found += f"; {self._unknown:,} labels are none of the model's and do not count"
        lines = [found]
        if self._labels:
            width = max(map(len, self._scores))
            scores = np.stack([np.pad(one, (0, width - len(one)), constant_values=-np.inf) for one in self._scores])
            target = self._predictor.target
            given = np.array(self._labels)
            labels = given.astype(np.float32) if target == "score" else given.astype(np.int64)
            metrics = measure(scores, labels, target, usual_metrics(self._predictor.kind, target))
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            lines.append(f"{shown} over the {len(labels):,} rows with a label")
        return lines


def predict(predictor: Predictor, rows: Iterable[TextRow], tally: Tally) -> Iterator[dict[str, Any]]:
    """One answer a row, in the order of the rows, as they come.

    Args:
        predictor: the model.
        rows: to predict; read a few batches at a time.
        tally: counts.

    Yields:
        `row`, its number; what `answer` says, and `truncated` if a text was cut; or `error`.
    """
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK_BATCHES * predictor.batch_size)):
        usable = [number for number, row in enumerate(chunk) if row.problem is None]
        encoded = predictor.encode([chunk[number].texts for number in usable]) if usable else None
        scores = dict(zip(usable, predictor.scores(encoded), strict=True)) if encoded is not None else {}
        cut = dict(zip(usable, encoded.cut.tolist(), strict=True)) if encoded is not None else {}
        for number, row in enumerate(chunk):
            tally.add(row, scores.get(number), cut.get(number, False))
            if row.problem is not None:
                yield {"row": row.number, "error": row.problem}
                continue
            said = answer(predictor, scores[number], len(row.texts) - 1)
            yield {"row": row.number, **said, **({"truncated": True} if cut[number] else {})}
