from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from small_corpus import complete, document, words, write_documents

from data_prep.cloze import ChoiceSettings
from data_prep.errors import UserError
from data_prep.labelled import LabelledSettings
from data_prep.manifest import StageManifest
from data_prep.shard_stage import ShardsSettings, split_of
from data_prep.tasks import TasksStage, TasksStageSettings

SHARDS = ShardsSettings(validation_share=0.3)
LABELLED = LabelledSettings(
    labels=3, train_per_label=20, validation_per_label=5, test_per_label=5, per_document=6, validation_share=0.25
)
SETTINGS = TasksStageSettings(shards=SHARDS, labelled=LABELLED, choice=ChoiceSettings(items=20))
COMMON = [f"line {i} stands in every document of every site and so it says nothing about any one" for i in range(9)]


def corpus() -> list[dict]:  # type: ignore[type-arg]
    rng = random.Random(2)
    rows = []
    for i in range(160):
        site = f"https://s{i % 4}.org/{i}"
        text = "\n".join([*COMMON, *(words(rng, 40) for _ in range(2 if i % 4 == 3 else 4)), "short line"])
        rows.append(document(i, text, url=site))
    return rows


def make(folder: Path, reverse: bool = False) -> StageManifest:
    rows = corpus()
    if reverse:
        rows.reverse()
    refs = write_documents(folder / "in", rows[:90], rows[90:])
    return complete(TasksStage(str(folder / "tasks"), SETTINGS, {"documents": refs}, {}))


def read(folder: Path, name: str) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in (folder / "tasks" / name).read_text().splitlines()]


def test_rows_are_balanced_and_come_from_the_right_documents(tmp_path: Path) -> None:
    manifest = make(tmp_path)
    labels = json.loads((tmp_path / "tasks/labelled/labels.json").read_text())["labels"]
    assert labels == ["s0.org", "s1.org", "s2.org"]
    documents, texts = {}, {}
    for split, count in {"train": 20, "validation": 5, "test": 5}.items():
        rows = read(tmp_path, f"labelled/{split}.jsonl")
        assert manifest.totals.extra[f"labelled/{split}_rows"] == len(rows)
        assert Counter(row["label"] for row in rows) == dict.fromkeys(labels, len(rows) // len(labels))
        assert count // 2 <= len(rows) // len(labels) <= count
        assert [row["label"] for row in rows] != sorted(row["label"] for row in rows)
        documents[split] = {row["id"].split(":")[0] for row in rows}
        texts[split] = {row["text"] for row in rows}
        shard_split = "validation" if split == "test" else "train"
        assert {split_of(SHARDS, id) for id in documents[split]} == {shard_split}
        for row in rows:
            assert row["label"] == f"s{int(row['id'].split(':')[0], 16) % 4}.org"
        assert max(Counter(row["id"].split(":")[0] for row in rows).values()) <= 6
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not documents[a] & documents[b]
        assert not texts[a] & texts[b]
    assert not set(COMMON) & (texts["train"] | texts["validation"] | texts["test"])


def test_questions_come_from_held_out_documents(tmp_path: Path) -> None:
    make(tmp_path)
    rows = read(tmp_path, "choice/test.jsonl")
    assert len(rows) == 20
    assert {split_of(SHARDS, row["id"].split(":")[0]) for row in rows} == {"validation"}
    assert set(rows[0]) == {"context", "choices", "answer", "id"}


def test_the_order_of_documents_does_not_matter(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b", reverse=True)
    files = [{ref.path: ref.sha256 for ref in m.outputs if "removed" not in ref.path} for m in (one, two)]
    assert files[0] == files[1]


def test_a_corpus_without_two_labels_is_an_error(tmp_path: Path) -> None:
    rows = [document(i, words(random.Random(i), 40)) for i in range(20)]
    stage = TasksStage(str(tmp_path / "t"), SETTINGS, {"documents": write_documents(tmp_path / "in", rows)}, {})
    with pytest.raises(UserError, match=r"tasks\.labelled: 1 of 1 labels"):
        complete(stage)
    assert not list((tmp_path / "t").rglob("*.jsonl*"))
