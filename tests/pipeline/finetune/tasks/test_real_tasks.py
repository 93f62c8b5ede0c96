"""The data sets themselves, where they lie below WEBTEXT_DATA_ROOT: counts and known repeats."""

from __future__ import annotations

import dataclasses
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from pipeline.config.task_data import TaskDataConfig
from pipeline.finetune.overlap import Repeats, in_train, repeats, seen_in_train
from pipeline.finetune.task import Task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the archives are unpacked, as the documentation says."""
    folder = tmp_path_factory.mktemp("eval")
    for name in ("imdb", "qqp", "glue", "kor_question_pair", "nsmc_rebuilt"):
        path = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "eval" / f"{name}.tar.zst"
        with (
            path.open("rb") as handle,
            zstandard.ZstdDecompressor().stream_reader(handle) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            archive.extractall(folder, filter="data")
    return folder


def load(root: Path, name: str) -> Task:
    """A task whose files are the known ones; what was held out is back in train."""
    task = Task.load(TaskDataConfig(name=name, root=str(root), cache=str(root / "cache")))
    held_out = task.splits["validation"] if any("validation: " in note for note in task.notes) else []
    return dataclasses.replace(task, splits={**task.splits, "train": task.splits["train"] + held_out})


@pytest.mark.parametrize(
    ("name", "train", "test", "labels"),
    [
        ("sst-2", 67_349, 872, {"negative": 29_780, "positive": 37_569}),
        ("cola", 8_551, 1_043, {"unacceptable": 2_528, "acceptable": 6_023}),
        ("mrpc", 3_667, 1_725, {"different": 1_194, "paraphrase": 2_473}),
        ("sts-b", 5_749, 1_500, {}),
        ("rte", 2_490, 277, {"not_entailment": 1_241, "entailment": 1_249}),
        ("nsmc", 40_000, 10_000, {"negative": 20_000, "positive": 20_000}),
        ("korean-pairs", 6_888, 688, {"different": 4_750, "duplicate": 2_138}),
    ],
)
def test_counts(root: Path, name: str, train: int, test: int, labels: dict[str, int]) -> None:
    task = load(root, name)
    assert (len(task.splits["train"]), len(task.splits["test"])) == (train, test)
    assert {label: sum(one.label == label for one in task.splits["train"]) for label in task.labels} == labels
    if task.target == "score":
        assert {0.0, 5.0} <= {one.label for one in task.splits["train"]}


def test_imdb_and_its_known_repeats(root: Path) -> None:
    task = load(root, "imdb")
    assert (len(task.splits["train"]), len(task.splits["test"])) == (25_000, 25_000)
    assert sum(one.label == "positive" for one in task.splits["test"]) == 12_500
    assert repeats(task.splits["train"]) == Repeats(96, 0)
    assert in_train(task, "test") == (123, 0)


def test_qqp_and_the_questions_that_its_sets_share(root: Path) -> None:
    task = load(root, "qqp")
    assert (task.form, len(task.splits["train"]), len(task.splits["test"])) == ("bimpm-dev", 10_000, 10_000)
    assert sum(one.label == "duplicate" for one in task.splits["test"]) == 5_000
    assert in_train(task, "test") == (0, 0)
    assert sum(seen_in_train(task, "test")) == 1_454
