"""A labelled task on disk: train, validation and test as JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from data_prep import store
from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.complete import TASK_SPLITS, task_digest
from pipeline.data.batches import Batch
from pipeline.data.order import Int, SampleOrder
from pipeline.finetune.inputs import SpecialTokens, classification, collate


@dataclass(frozen=True)
class Example:
    """A text and its label's name."""

    text: str
    label: str


def read_examples(path: str) -> list[Example]:
    """Rows {"text": ..., "label": ...} of a JSONL file.

    Raises:
        UserError: missing or empty file, a line that is not such a row, an empty text; names the line.
    """
    if not store.exists(path):
        raise UserError("no such task file", where=path, fix="make the task, or correct task.path")
    examples = []
    for number, line in enumerate(store.read_bytes(path).splitlines(), 1):
        try:
            row = orjson.loads(line)
            text, label = row["text"], row["label"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f'not a row {{"text", "label"}} ({error!r})', where=f"{path}, line {number}", fix="mend or remove it"
            ) from None
        if not isinstance(text, str) or not text.strip():
            raise UserError("the text is empty", where=f"{path}, line {number}", fix="remove the line")
        examples.append(Example(text, str(label)))
    if not examples:
        raise UserError("the file holds no examples", where=path, fix="give a file with labelled rows")
    return examples


@dataclass(frozen=True)
class Task:
    """A task in memory.

    Attributes:
        splits: "train", "validation" and "test".
        labels: label names, sorted; the class number is the position.
        digest: sha256 (hex) over the three files.
    """

    splits: dict[str, list[Example]]
    labels: list[str]
    digest: str

    @staticmethod
    def load(folder: str) -> Task:
        """Read the three files of a folder.

        Raises:
            UserError: see `read_examples`; fewer than two labels; a label that does not occur in train.
        """
        paths = {split: store.join(folder, f"{split}.jsonl") for split in TASK_SPLITS}
        splits = {split: read_examples(path) for split, path in paths.items()}
        labels = sorted({example.label for example in splits["train"]})
        if len(labels) < 2:
            raise UserError(f"train has the single label {labels[0]!r}", where=paths["train"], fix="give two or more")
        for split, examples in splits.items():
            unknown = sorted({example.label for example in examples} - set(labels))
            if unknown:
                raise UserError(
                    f"{split} has labels that train has not: {unknown[:3]}", where=paths[split], fix="mend the labels"
                )
        return Task(splits, labels, task_digest(folder))

    def majority(self, split: str) -> float:
        """Accuracy in `split` of always answering train's most frequent label."""
        most = Counter(example.label for example in self.splits["train"]).most_common(1)[0][0]
        examples = self.splits[split]
        return sum(example.label == most for example in examples) / len(examples)


class Examples:
    """Encoded examples by number: in file order for evaluation, in shuffled epochs for training.

    Args:
        examples: the texts and labels.
        labels: all label names.
        tokenizer: of the pretrained model.
        length: longest sequence.
        order_seed: shuffle by this seed, epoch after epoch; None keeps the file order.
        fingerprint: digest of what the examples are.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        labels: Sequence[str],
        tokenizer: Tokenizer,
        length: int,
        order_seed: int | None,
        fingerprint: str,
    ) -> None:
        special = SpecialTokens.after(tokenizer.vocab_size)
        encoded = tokenizer.encode_batch([example.text for example in examples])
        self._sequences = [classification(ids, special, length) for ids in encoded]
        self._labels = [labels.index(example.label) for example in examples]
        self.truncated = sum(len(ids) > length - 2 for ids in encoded)
        self._order = SampleOrder([len(examples)], [1.0], order_seed) if order_seed is not None else None
        self.unit, self.units_per_sample = "examples", 1
        self.fingerprint = store.digest({"task": fingerprint, "length": length, "seed": order_seed})

    def __len__(self) -> int:
        return len(self._sequences)

    def batch(self, samples: Int) -> Batch:
        """[n] sample numbers -> the tensors of `collate`."""
        rows = (self._order.locate(samples).window if self._order is not None else samples).tolist()
        return collate([self._sequences[row] for row in rows], [self._labels[row] for row in rows])
