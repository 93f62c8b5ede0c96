"""What is measured of a labelled task: balance, lengths, repeats, odd texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep import keyed
from data_prep.report.charts import percent
from data_prep.tokenizer import Tokenizer
from pipeline.finetune.inputs import longest_segment
from pipeline.finetune.overlap import Repeats, in_train, most_repeated, repeats, seen_in_train
from pipeline.finetune.task import Example, Task

ODD = {
    "HTML tags": re.compile(r"<(?:br|p|a|div|span|i|b|img|/\w+)\b[^>]*>", re.I),
    "a broken character (U+FFFD)": re.compile("\ufffd"),
    "control characters": re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"),
    "UTF-8 read as Latin-1": re.compile(r"[ÃÂâ][\x80-\xbf€™œž“”]"),
    "wrapped in quotes": re.compile(r'^\s*".*"\s*$', re.S),
    "a line break or tab": re.compile(r"[\n\t]"),
    "no letter or digit": re.compile(r"^[\W_]*$"),
    "a single word": re.compile(r"^\s*\S+\s*$"),
}
"""What a text may have that its reader did not expect. A candidate of a choice may well be one word."""
_BYTES_PER_TOKEN = 1.5
"""Korean in the English vocabulary of GPT-2 has 1.1, English 4.4."""
_SAMPLES = 3
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class SplitView:
    """A split.

    Attributes:
        examples: how many.
        labels: label (choice: position) -> examples, in the order of the classes; empty for a score.
        tokens: [n] tokens of each example's texts together, special tokens included, uncut; of a choice with its
            longest candidate.
        cut: examples of which a text is cut at the context.
        repeated: within the split.
        in_train: examples that are all in train, and how many of them with another label there.
        seen: examples that share a text with train.
        repeated_texts: the most frequent texts and in how many examples they stand.
        odd: what is odd -> examples, and the first one's text.
    """

    examples: int
    labels: Mapping[str, int]
    tokens: npt.NDArray[np.int64]
    cut: int
    repeated: Repeats
    in_train: tuple[int, int]
    seen: int
    repeated_texts: Sequence[tuple[str, int]]
    odd: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Measures:
    """All that is measured.

    Attributes:
        splits: in the order of the task.
        median_tokens: label -> median of `SplitView.tokens` in train.
        samples: label -> some training examples.
        scores: [n] scores of train; empty for labels.
        bytes_per_token: of train's texts.
        context: tokens.
    """

    splits: Mapping[str, SplitView]
    median_tokens: Mapping[str, float]
    samples: Mapping[str, Sequence[Example]]
    scores: npt.NDArray[np.float64]
    bytes_per_token: float
    context: int

    @property
    def train(self) -> SplitView:
        """The training split."""
        return self.splits["train"]


def measure(task: Task, tokenizer: Tokenizer, length: int) -> Measures:
    """Look at every example.

    Args:
        task: the task.
        tokenizer: of the pretrained model.
        length: its context in tokens.

    Raises:
        UserError: the context has no room for an example.
    """
    splits, lengths = {}, {}
    for name, examples in task.splits.items():
        lengths[name] = _segments(examples, tokenizer)
        splits[name] = _split(task, name, lengths[name], longest_segment(task.kind, length))
    train = task.splits["train"]
    text_bytes = sum(len(text.encode()) for example in train for text in example.texts)
    groups = _groups(task, train)
    tokens = splits["train"].tokens
    return Measures(
        splits,
        {label: float(np.median(tokens[rows])) for label, rows in groups.items() if rows},
        {label: [train[row] for row in _draw(train, rows)] for label, rows in groups.items()},
        np.array([example.label for example in train] if task.target == "score" else [], np.float64),
        text_bytes / max(1, sum(sum(segments) for segments in lengths["train"])),
        length,
    )


def _groups(task: Task, examples: Sequence[Example]) -> dict[str, list[int]]:
    """Label -> rows; of scores the lowest, middle and highest third."""
    if task.target == "score":
        order = sorted(range(len(examples)), key=lambda row: float(examples[row].label))
        third = max(1, len(order) // 3)
        return {"low": order[:third], "middle": order[third:-third], "high": order[-third:]}
    groups: dict[str, list[int]] = {label: [] for label in task.labels}
    for row, example in enumerate(examples):
        groups.setdefault(str(example.label), []).append(row)
    return dict(sorted(groups.items())) if task.kind == "choice" else groups


def _draw(examples: Sequence[Example], rows: Sequence[int]) -> list[int]:
    return sorted(rows, key=lambda row: keyed.key(0, "sample", "\0".join(examples[row].texts)))[:_SAMPLES]


def _segments(examples: Sequence[Example], tokenizer: Tokenizer) -> list[list[int]]:
    """Tokens of each text of each example."""
    _, offsets = tokenizer.encode_packed([text for example in examples for text in example.texts])
    sizes = iter(np.diff(np.asarray(offsets)).tolist())
    return [[next(sizes) for _ in example.texts] for example in examples]


def _split(task: Task, name: str, segments: Sequence[Sequence[int]], kept: int) -> SplitView:
    examples = task.splits[name]
    groups = _groups(task, examples) if task.target == "label" else {}
    if task.kind == "choice":
        tokens = [sizes[0] + max(sizes[1:]) + 3 for sizes in segments]
    else:
        tokens = [sum(sizes) + len(sizes) + 1 for sizes in segments]
    is_train = name == "train"
    return SplitView(
        len(examples),
        {label: len(rows) for label, rows in groups.items()},
        np.array(tokens, np.int64),
        sum(max(sizes) > kept for sizes in segments),
        repeats(examples),
        (0, 0) if is_train else in_train(task, name),
        0 if is_train else sum(seen_in_train(task, name)),
        most_repeated(task, name, 5) if is_train else (),
        _odd(task, examples),
    )


def _odd(task: Task, examples: Sequence[Example]) -> dict[str, tuple[int, str]]:
    found: Counter[str] = Counter()
    first: dict[str, str] = {}
    for example in examples:
        texts = example.texts[:1] if task.kind == "choice" else example.texts
        for what, pattern in ODD.items():
            text = next((text for text in texts if pattern.search(text)), None)
            if text is not None:
                found[what] += 1
                first.setdefault(what, text)
    return {what: (count, first[what]) for what, count in found.most_common()}


def warnings(task: Task, measures: Measures) -> list[str]:
    """What may spoil a result, a line each; the gravest first."""
    return [*_leaks(measures), *_balance(task, measures), *_texts(measures)]


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _leaks(measures: Measures) -> list[str]:
    whole, contradictions, shared, repeated = [], [], [], []
    for name, split in measures.splits.items():
        same, other = split.in_train
        if same:
            labels = f", {other:,} of them with another label there" if other else ""
            stand = "example stands" if same == 1 else "examples stand"
            whole.append(f"{same:,} {name} {stand} in train word by word{labels}")
        if split.repeated.contradictions:
            texts = _count(split.repeated.contradictions, "text", "texts")
            contradictions.append(f"{texts} of {name} with more than one label")
        if split.seen - same > 0.01 * split.examples:
            share = percent(split.seen, split.examples)
            shared.append(f"{split.seen:,} {name} examples ({share}) share a text with train")
        if split.repeated.rows:
            rows = _count(split.repeated.rows, "example repeats", "examples repeat")
            repeated.append(f"{name}: {rows} an earlier one")
    return whole + contradictions + shared + repeated


def _balance(task: Task, measures: Measures) -> list[str]:
    found: list[str] = []
    train = measures.train
    if not train.labels:
        return found
    label, most = max(train.labels.items(), key=lambda item: item[1])
    if most > max(0.75, 1.5 / len(train.labels)) * train.examples:
        found.append(f"{percent(most, train.examples)} of train have the label {label}: accuracy says little")
    scarce = [label for label, count in train.labels.items() if count < 10]
    if scarce:
        found.append(f"{len(scarce)} labels have fewer than 10 training examples, {scarce[0]!r} among them")
    for name, split in measures.splits.items():
        gaps = {
            label: split.labels.get(label, 0) / split.examples - count / train.examples
            for label, count in train.labels.items()
        }
        label, gap = max(gaps.items(), key=lambda item: abs(item[1]))
        if abs(gap) > 0.1:
            found.append(
                f"{label} makes up {abs(100 * gap):.0f} points {'more' if gap > 0 else 'less'} of {name} than of train"
            )
        absent = [label for label in train.labels if not split.labels.get(label)]
        if absent:
            found.append(
                f"{name} has no example of {absent[0]!r}" + (f" and {len(absent) - 1} more labels" * (len(absent) > 1))
            )
    return found


def _texts(measures: Measures) -> list[str]:
    found = []
    for name, split in measures.splits.items():
        if split.cut > 0.05 * split.examples:
            share = percent(split.cut, split.examples)
            found.append(f"{share} of {name} are cut at the context of {measures.context} tokens")
    if measures.bytes_per_token < _BYTES_PER_TOKEN:
        found.append(
            f"a token stands for {measures.bytes_per_token:.1f} bytes: the tokenizer was not made for such texts"
        )
    for what in ("a broken character (U+FFFD)", "control characters", "UTF-8 read as Latin-1", "HTML tags"):
        count = sum(split.odd[what][0] for split in measures.splits.values() if what in split.odd)
        if count:
            found.append(f"{_count(count, 'example has', 'examples have')} {what}")
    wrapped = measures.train.odd.get("wrapped in quotes", (0, ""))[0]
    if wrapped > 0.2 * measures.train.examples:
        found.append(f"{wrapped:,} training examples are wrapped in quotes: is this a CSV with quotes, read without?")
    return found
