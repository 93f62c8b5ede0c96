"""Encoded examples by number: as they stand for evaluation, in shuffled epochs for training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from data_prep import store
from data_prep.tokenizer import Tokenizer
from pipeline.config.task_data import Kind
from pipeline.data.batches import Batch
from pipeline.data.order import Int
from pipeline.finetune.inputs import SpecialTokens, collate, language_targets, longest_segment, transform
from pipeline.finetune.order import LengthGroups
from pipeline.finetune.task import Example, Task


class Encoded:
    """Examples as token sequences, flat in memory.

    Args:
        texts: of each example.
        kind: form of the inputs.
        tokenizer: of the pretrained model.
        length: tokens of context.

    Attributes:
        lengths: [n] tokens of the longest sequence of each example.
        cut: [n] bool, whether a text of the example was cut.
    """

    def __init__(self, texts: Sequence[Sequence[str]], kind: Kind, tokenizer: Tokenizer, length: int) -> None:
        special, kept = SpecialTokens.after(tokenizer.vocab_size), longest_segment(kind, length)
        ids = iter(tokenizer.encode_batch([text for one in texts for text in one]))
        parts, ends, examples, cut = [], [], [0], []
        for one in texts:
            segments = [next(ids) for _ in one]
            cut.append(any(len(segment) > kept for segment in segments))
            rows = transform(kind, segments, special, length)
            parts += [np.array(row, np.int32) for row in rows]
            ends += [len(row) for row in rows]
            examples.append(examples[-1] + len(rows))
        self._ids = np.concatenate(parts)
        self._ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends, dtype=np.int64)])
        self._rows = np.array(examples, np.int64)
        self.cut = np.array(cut)
        self.lengths = np.maximum.reduceat(np.array(ends, np.int64), self._rows[:-1])

    def __len__(self) -> int:
        return len(self._rows) - 1

    @property
    def most_rows(self) -> int:
        """Sequences of the example that has most of them."""
        return int(np.diff(self._rows).max())

    def batch(self, numbers: Int) -> Batch:
        """[n] example numbers -> the tensors of `collate`."""
        starts, ends = self._ends[:-1], self._ends[1:]
        return collate(
            [
                [self._ids[starts[row] : ends[row]] for row in range(self._rows[one], self._rows[one + 1])]
                for one in numbers.tolist()
            ]
        )


def label_numbers(task: Task, examples: Sequence[Example]) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    """[n] class numbers, positions of the right candidates, or scores (float32)."""
    if task.target == "score":
        return np.array([float(example.label) for example in examples], np.float32)
    if task.kind == "choice":
        return np.array([int(example.label) for example in examples], np.int64)
    numbers = {label: number for number, label in enumerate(task.labels)}
    return np.array([numbers[str(example.label)] for example in examples], np.int64)


class Split:
    """One split of a task, for evaluation in its own order.

    Args:
        task: whose examples they are.
        name: of the split.
        tokenizer: of the pretrained model.
        length: tokens of context.

    Attributes:
        labels: [n] of `label_numbers`.
    """

    def __init__(self, task: Task, name: str, tokenizer: Tokenizer, length: int) -> None:
        self.encoded = Encoded([one.texts for one in task.splits[name]], task.kind, tokenizer, length)
        self.labels = label_numbers(task, task.splits[name])

    def __len__(self) -> int:
        return len(self.encoded)


class TrainSamples:
    """The training split in shuffled epochs of length groups.

    Args:
        split: the examples.
        order: which example is sample i.
        language: whether the language-model loss is asked for.
        facts: what decides what sample i is.
    """

    def __init__(self, split: Split, order: LengthGroups, language: bool, facts: dict[str, object]) -> None:
        self._split, self._order, self._language = split, order, language
        self.unit, self.units_per_sample = "examples", 1
        self.fingerprint = store.digest(facts)

    def batch(self, samples: Int) -> Batch:
        """[n] sample numbers -> what `TaskModel` takes."""
        numbers = self._order.locate(samples)
        batch = self._split.encoded.batch(numbers)
        batch["labels"] = torch.from_numpy(self._split.labels[numbers])
        return {**batch, **language_targets(batch)} if self._language else batch
