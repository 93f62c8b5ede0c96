from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_model import tokenizer_bytes, write_rows, write_task

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.finetune.task import Example, Examples, Task, read_examples

GOOD = '{"text": "a", "label": "x"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2: not a row"),
        ('{"text": "a"}', "line 2: not a row .*KeyError\\('label'\\)"),
        ("[1, 2]", "line 2: not a row"),
        ('{"text": "  ", "label": "x"}', "line 2: the text is empty"),
        ('{"text": 5, "label": "x"}', "line 2: the text is empty"),
        ("", "line 2: not a row"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(UserError, match=message):
        read_examples(str(path))


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such task file; make the task, or correct task\.path"):
        read_examples(str(tmp_path / "train.jsonl"))
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no examples"):
        read_examples(str(tmp_path / "train.jsonl"))


def test_labels_are_numbered_by_name(tmp_path: Path) -> None:
    write_task(tmp_path)
    task = Task.load(str(tmp_path))
    assert task.labels == ["cat", "dog", "river"]
    assert [len(task.splits[split]) for split in ("train", "validation", "test")] == [48, 11, 13]
    assert task.majority("test") == 5 / 13  # "cat", the first of equally frequent ones


def test_a_label_that_train_has_not_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path)
    write_rows(tmp_path / "test.jsonl", [{"text": "a", "label": "horse"}])
    with pytest.raises(UserError, match=r"test\.jsonl: test has labels that train has not: \['horse'\]"):
        Task.load(str(tmp_path))


def test_a_single_label_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path)
    write_rows(tmp_path / "train.jsonl", [{"text": "a", "label": "cat"}])
    with pytest.raises(UserError, match="train has the single label 'cat'"):
        Task.load(str(tmp_path))


def test_the_digest_changes_with_any_file(tmp_path: Path) -> None:
    digests = []
    for split in ("train", "validation", "test"):
        write_task(tmp_path)
        digests.append(Task.load(str(tmp_path)).digest)
        with (tmp_path / f"{split}.jsonl").open("a") as handle:
            handle.write('{"text": "a", "label": "cat"}\n')
        digests.append(Task.load(str(tmp_path)).digest)
    assert len(set(digests)) == 4


def examples(order_seed: int | None, length: int = 16) -> Examples:
    rows = [Example("the cat " * (n + 1), "dog" if n % 2 else "cat") for n in range(10)]
    return Examples(rows, ["cat", "dog"], Tokenizer(tokenizer_bytes()), length, order_seed, "task")


def test_without_a_seed_examples_are_read_in_file_order() -> None:
    found = examples(None)
    batch = found.batch(np.arange(10))
    assert len(found) == 10
    assert batch["labels"].tolist() == [0, 1] * 5
    assert batch["extract"].tolist() == sorted(batch["extract"].tolist())


def test_with_a_seed_every_epoch_has_each_example_once() -> None:
    found = examples(3, length=64)
    lengths = [found.batch(np.arange(10) + 10 * epoch)["extract"].tolist() for epoch in range(2)]
    assert sorted(lengths[0]) == sorted(lengths[1])
    assert len(set(lengths[0])) == 10
    assert lengths[0] != lengths[1]
    assert lengths[0] != sorted(lengths[0])


def test_cut_examples_are_counted() -> None:
    tokenizer = Tokenizer(tokenizer_bytes())
    sizes = [len(tokenizer.encode("the cat " * (n + 1))) for n in range(10)]
    found = examples(None, length=10)
    assert found.truncated == sum(size > 8 for size in sizes) > 0
    assert found.batch(np.arange(10))["tokens"].shape == (10, 10)


def test_the_fingerprint_changes_with_length_and_seed() -> None:
    assert len({examples(1).fingerprint, examples(2).fingerprint, examples(1, 8).fingerprint}) == 3
    assert (examples(1).unit, examples(1).units_per_sample) == ("examples", 1)
