from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_model import write_rows, write_task

from data_prep.configfile import validate
from data_prep.errors import UserError
from pipeline.config.task_data import TaskDataConfig
from pipeline.finetune.task import Example, Task, task_digest

GOOD = '{"text": "a", "label": "x"}'
OTHER = '{"text": "b", "label": "y"}'


def plain(folder: Path, **changes: Any) -> TaskDataConfig:
    return validate(TaskDataConfig, {"name": "animals", "path": str(folder), **changes}, "test")


def own(root: Path, table: dict[str, Any], **changes: Any) -> TaskDataConfig:
    data = {"name": "own", "root": str(root), "cache": str(root / "cache"), "table": table, **changes}
    return validate(TaskDataConfig, data, "test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2: not JSON"),
        ('{"text": "a"}', "line 2: there is no 'label'"),
        ("[1, 2]", "line 2: not a JSON object"),
        ('{"text": "  ", "label": "x"}', "line 2: a text is empty"),
        ('{"text": 5, "label": "x"}', "line 2: a text is not a text"),
        ('{"text": "a", "label": null}', "line 2: there is no label"),
        ('{"text": "a", "label": ["x"]}', r"line 2: the label is \['x'\]"),
        ("", "line 2: the line is empty"),
        ("nor\nthis", r"line 2: not JSON .*\(the first of 2 rows that cannot be used\)"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    write_task(tmp_path)
    (tmp_path / "train.jsonl").write_text(f"{GOOD}\n{line}\n{OTHER}\n")
    with pytest.raises(UserError, match=message):
        Task.load(plain(tmp_path))


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl: no such task file \(and 2 more: .*correct task\.path"):
        Task.load(plain(tmp_path))
    write_task(tmp_path)
    (tmp_path / "validation.jsonl").write_text("")
    with pytest.raises(UserError, match=r"validation\.jsonl: validation has no examples"):
        Task.load(plain(tmp_path))


def test_a_plain_folder(tmp_path: Path) -> None:
    write_task(tmp_path)
    task = Task.load(plain(tmp_path))
    assert task.labels == ["cat", "dog", "river"]
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 48, "validation": 11, "test": 13}
    assert task.majority("test") == 5 / 13  # "cat", the first of equally frequent ones
    assert (task.metrics, task.where, task.notes) == (("accuracy",), str(tmp_path), ())


def test_a_label_that_train_has_not_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path)
    write_rows(tmp_path / "test.jsonl", [{"text": "a", "label": "horse"}, {"text": "a", "label": "cat"}])
    with pytest.raises(UserError, match=r"test\.jsonl: test has labels that train has not: 'horse' \(1 of 2 rows\)"):
        Task.load(plain(tmp_path))


def test_a_single_label_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path)
    write_rows(tmp_path / "train.jsonl", [{"text": "a", "label": "cat"}])
    with pytest.raises(UserError, match="train has the single label 'cat'"):
        Task.load(plain(tmp_path))


def test_the_digest_changes_with_all_that_decides_the_examples(tmp_path: Path) -> None:
    digests = []
    for split in ("train", "validation", "test"):
        write_task(tmp_path)
        digests.append(Task.load(plain(tmp_path)).digest)
        with (tmp_path / f"{split}.jsonl").open("a") as handle:
            handle.write('{"text": "a", "label": "cat"}\n')
        digests.append(Task.load(plain(tmp_path)).digest)
    assert len(set(digests)) == 4
    settings = [{"train_examples": 12}, {"train_examples": 12, "seed": 1}, {"usable_labels": 0.5}, {"seed": 1}]
    tasks = [Task.load(plain(tmp_path, **changes)) for changes in settings]
    assert len({task.digest for task in tasks} | {digests[-1]}) == 4  # the seed alone decides nothing
    assert {task.source for task in tasks} == {digests[-1]}
    assert [task.digest for task in tasks] == [task_digest(plain(tmp_path, **changes)) for changes in settings]


def test_the_digest_needs_neither_torch_nor_datasets(tmp_path: Path) -> None:
    write_task(tmp_path)
    code = (
        "import sys\nfrom pipeline.config.task_data import TaskDataConfig\n"
        "from pipeline.finetune.task import Task, task_digest\n"
        f"config = TaskDataConfig(name='x', path={str(tmp_path)!r})\n"
        "assert Task.load(config).digest == task_digest(config)\n"
        "print([m for m in ('torch', 'datasets', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_label_budget(tmp_path: Path) -> None:
    write_task(tmp_path)
    few, more, share = (
        Task.load(plain(tmp_path, **changes))
        for changes in ({"train_examples": 6}, {"train_examples": 24}, {"usable_labels": 0.5})
    )
    assert [len(task.splits["train"]) for task in (few, more, share)] == [6, 24, 24]
    assert set(few.splits["train"]) <= set(more.splits["train"])
    assert more.splits["train"] == share.splits["train"]
    assert sorted(str(one.label) for one in few.splits["train"]) == ["cat", "cat", "dog", "dog", "river", "river"]
    assert few.splits["test"] == more.splits["test"]
    assert few.notes == ("train: 6 of 48 labelled examples are used",)
    with pytest.raises(UserError, match="of 2 training examples none has the label"):
        Task.load(plain(tmp_path, train_examples=2))


SCORED = {"kind": "similarity", "target": "score", "files": {"train": "a"}, "texts": ["a", "b"]}
COLUMNS = {"kind": "classification", "texts": "text", "label": "label"}
LINES = [{"text": f"row {n}", "label": "no" if n % 2 else "yes", "other": n} for n in range(30)]
SPLITS = {"validation_share": 0.3, "test_share": 0.2}


def write_csv(path: Path, delimiter: str = ",", header: bool = True) -> None:
    names = [delimiter.join(("text", "label", "other"))] * header
    path.write_text("\n".join([*names, *(delimiter.join(map(str, row.values())) for row in LINES)]) + "\n")


def test_a_table_of_any_format_gives_the_same_examples(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    write_csv(tmp_path / "a.csv")
    write_csv(tmp_path / "a.tsv", "\t")
    write_csv(tmp_path / "semicolon.csv", ";")
    write_csv(tmp_path / "bare.csv", header=False)
    write_rows(tmp_path / "a.jsonl", LINES)
    for row in LINES:
        path = tmp_path / "texts" / str(row["label"]) / f"{row['other']:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(row["text"]))
    data = Dataset.from_list(LINES)
    data.to_parquet(tmp_path / "a.parquet")
    data.save_to_disk(tmp_path / "folder")
    classes = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"]), "other": Value("int64")})
    data.cast(classes).save_to_disk(tmp_path / "classes")
    tables: list[dict[str, Any]] = [
        {"files": {"train": "a.csv"}},
        {"files": {"train": "a.tsv"}},
        {"files": {"train": "semicolon.csv"}, "delimiter": ";"},
        {"files": {"train": "bare.csv"}, "header": ["text", "label", "other"]},
        {"files": {"train": "a.jsonl"}},
        {"files": {"train": "a.parquet"}},
        {"files": {"train": "folder"}},
        {"files": {"train": "classes"}},
        {"files": {"train": "texts/*/*.txt"}, "format": "texts"},
    ]
    found = [Task.load(own(tmp_path, COLUMNS | table, **SPLITS)) for table in tables]
    rows = [{split: set(task.splits[split]) for split in task.splits} for task in found]
    assert rows == [rows[0]] * len(tables)
    assert set.union(*rows[0].values()) == {Example((str(row["text"]),), str(row["label"])) for row in LINES}
    assert all(rows[0].values())
    assert [task.labels for task in found] == [["no", "yes"]] * len(tables)
    assert len({task.digest for task in found}) == len(tables)


def test_the_second_reading_comes_from_the_cache_until_the_file_changes(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    config = own(tmp_path, COLUMNS | {"files": {"train": "a.csv"}}, **SPLITS)
    first = Task.load(config)
    tables = sorted((tmp_path / "cache").rglob("*.arrow"))
    times = [path.stat().st_mtime_ns for path in tables]
    assert tables
    assert Task.load(config) == first
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").rglob("*.arrow"))] == times
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().replace("row 1,", "new 1,"))
    changed = Task.load(config)
    assert changed.digest != first.digest
    assert Example(("new 1",), "no") in {row for rows in changed.splits.values() for row in rows}


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    write_rows(tmp_path / "a.jsonl", LINES)
    (tmp_path / "file").write_text("not a folder")
    for name in ("a.csv", "a.jsonl"):
        config = own(tmp_path, COLUMNS | {"files": {"train": name}}, cache=str(tmp_path / "file"), **SPLITS)
        with pytest.raises(UserError, match=rf"{name}: cannot be read or cached .*set task\.cache to a folder"):
            Task.load(config)


def test_choices_from_columns_or_a_list(tmp_path: Path) -> None:
    rows = [{"c": f"context {n}", "a": "x", "b": "y", "all": ["x", "y"], "right": n % 2} for n in range(20)]
    write_rows(tmp_path / "a.jsonl", rows)
    tables = [
        {"kind": "choice", "files": {"train": "a.jsonl"}, "texts": texts, "label": "right"}
        for texts in (["c", "a", "b"], ["c", "all"])
    ]
    one, other = (Task.load(own(tmp_path, table, **SPLITS)) for table in tables)
    assert one.splits == other.splits
    assert one.labels == []
    assert {row for rows in one.splits.values() for row in rows} == {
        Example((f"context {n}", "x", "y"), n % 2) for n in range(20)
    }
    assert 0 < one.majority("test") <= 1


@pytest.mark.parametrize(
    ("name", "content", "table", "message"),
    [
        (
            "a.csv",
            "text,label\na,x\n",
            {"label": "class"},
            r"a\.csv: there is no column 'class' .* 'text', 'label'",
        ),
        ("a.csv", "text,label\na,x,1\nb,y,2\n", {}, r"a\.csv, row 1: 3 fields, and there are 2 columns"),
        ("a.csv", "text,label\na,x\nb,y,2,3\n", {}, r"a\.csv: not a csv file .*line 3, saw 4"),
        ("a.csv", "text,label\na,x\nb,y,2\n", {}, r"a\.csv: not a csv file .*line 3, saw 3"),
        ("a.csv", 'text,label\na,x\n"b,y\n', {}, r"a\.csv: not a csv file .*starting at row 2"),
        ("a.csv", "text,label\na,x\nb\n", {}, r"a\.csv, row 2: there is no label"),
        ("a.csv", "text,label\n", {}, r"a\.csv: the file holds no rows"),
        ("a.csv", "", {}, r"a\.csv: the file holds no rows"),
        ("a.csv", "text,label\na,x\n\udcff,y\n", {}, r"a\.csv: not UTF-8 .*at byte"),
        ("a.jsonl", GOOD + "\n{\n{\n", {}, r"a\.jsonl, line 2: not JSON .*the first of 2 rows"),
        ("a.jsonl", '{"text": "a\udcff", "label": 1}\n', {}, r"a\.jsonl, line 1: not JSON"),
        ("a.parquet", "text", {}, r"a\.parquet: not a parquet file"),
        ("a.xlsx", "text", {}, r"a\.xlsx: the ending '\.xlsx' does not say what this is"),
    ],
)
def test_files_that_are_no_such_table(
    tmp_path: Path, name: str, content: str, table: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=message):
        Task.load(own(tmp_path, COLUMNS | {"files": {"train": name}} | table))


def test_words_that_pandas_takes_for_nothing_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nNA,x\nnull,None\nnan,x\n")
    table = COLUMNS | {"files": dict.fromkeys(("train", "validation", "test"), "a.csv")}
    assert [(*example.texts, example.label) for example in Task.load(own(tmp_path, table)).splits["train"]] == [
        ("NA", "x"),
        ("null", "None"),
        ("nan", "x"),
    ]


def test_both_shares_are_of_all_training_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"row {n},{n % 2}\n" for n in range(1000)))
    config = own(tmp_path, COLUMNS | {"files": {"train": "a.csv"}}, validation_share=0.4, test_share=0.4)
    sizes = [len(rows) for rows in Task.load(config).splits.values()]
    assert all(abs(size - wanted) < 60 for size, wanted in zip(sizes, (200, 400, 400), strict=True)), sizes


def test_a_folder_of_several_splits_names_them(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    DatasetDict({split: Dataset.from_list(LINES) for split in ("train", "test")}).save_to_disk(tmp_path / "all")
    with pytest.raises(UserError, match=r"all: a folder of several splits \(train, test\); name the folder of one"):
        Task.load(own(tmp_path, COLUMNS | {"files": {"train": "all"}}))
    split = {"train": "all/train", "test": "all/test"}
    assert len(Task.load(own(tmp_path, COLUMNS | {"files": split})).splits["test"]) == 30


def test_shares_belong_to_splits_without_a_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    table = COLUMNS | {"files": {"train": "a.csv", "validation": "a.csv"}}
    with pytest.raises(UserError, match=r"task\.validation_share: validation has files of its own \(a\.csv\)"):
        Task.load(own(tmp_path, table, validation_share=0.1))
    with pytest.raises(UserError, match="leave nothing to train on"):
        Task.load(own(tmp_path, COLUMNS | {"files": {"train": "a.csv"}}, validation_share=0.5, test_share=0.5))
    with pytest.raises(UserError, match=r"of which a share of 0\.0001 cannot be held out"):
        Task.load(own(tmp_path, table, test_share=0.0001))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "x", "root": "y"}, "give root, or path"),
        ({}, "give root, or path"),
        ({"root": "x", "metrics": ["f1"]}, "a registered task has its own metrics"),
        (
            {"path": "x", "metrics": ["f1", "pearson"]},
            "pearson does not measure a label: choose from accuracy, f1",
        ),
        (
            {"root": "x", "metrics": ["accuracy"], "table": SCORED},
            "accuracy does not measure a score: choose from",
        ),
        ({"root": "x", "train_examples": 5, "usable_labels": 0.5}, "train_examples and usable_labels say the same"),
        ({"path": "x", "table": COLUMNS | {"files": {"train": "a"}}}, "a table lies below root"),
        ({"root": "x", "table": COLUMNS | {"files": {"test": "a"}}}, "files has no train"),
        ({"root": "x", "table": COLUMNS | {"files": {"training": "a"}}}, "table.files.training"),
        ({"root": "x", "table": COLUMNS | {"kind": "entailment", "files": {"train": "a"}}}, "texts names 1 columns"),
        ({"root": "x", "table": COLUMNS | {"target": "score", "files": {"train": "a"}}}, "a score is for similarity"),
        ({"root": "x", "table": COLUMNS | {"header": ["a"], "files": {"train": "a"}}}, "header has no column label"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(TaskDataConfig, {"name": "own", **changes}, "test")
