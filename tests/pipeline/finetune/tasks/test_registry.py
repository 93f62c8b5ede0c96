from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from original_tasks import ORIGINALS, Original

from data_prep.configfile import load, validate
from data_prep.errors import UserError
from pipeline.config.schema import FinetuneConfig
from pipeline.config.task_data import TaskDataConfig
from pipeline.finetune.task import Task
from pipeline.finetune.tasks.registry import TASKS


def config(name: str, root: Path, **changes: Any) -> TaskDataConfig:
    return validate(TaskDataConfig, {"name": name, "root": str(root), "cache": str(root / "cache"), **changes}, "test")


def held_out(original: Original) -> dict[str, float]:
    """Shares large enough for few rows, where there is no file."""
    form = next(form for form in TASKS[original.name].forms if form.name == original.form)
    return {f"{split}_share": 0.3 for split in ("validation", "test") if split not in form.table.files}


def test_every_form_of_every_task_has_a_sample() -> None:
    samples = {(original.name, original.form) for original in ORIGINALS}
    assert samples == {(name, form.name) for name, task in TASKS.items() for form in task.forms}


@pytest.mark.parametrize("original", ORIGINALS, ids=lambda one: f"{one.name}-{one.form}")
def test_the_original_form_is_read(original: Original, tmp_path: Path) -> None:
    original.write(tmp_path)
    task = Task.load(config(original.name, tmp_path, verify=False, **held_out(original)))
    known = TASKS[original.name]
    splits = [task.splits[split] for split in ("train", "validation", "test")]
    rows = [example for split in splits for example in split]
    assert (task.form, task.kind, task.metrics) == (original.form, known.kind, known.metrics)
    assert len(rows) == original.total
    assert all(splits)
    assert [one for one in original.some if one not in rows] == []
    assert task.labels == list(original.labels)
    assert [note for note in original.left_out if note not in task.notes] == []
    assert set(task.splits) - {"train", "validation", "test"} == (
        {"mnli": {"test_mismatched"}, "race": {"test_middle", "test_high"}}.get(original.name, set())
    )


@pytest.mark.parametrize("name", ["imdb", "qqp", "story-cloze"])
def test_what_is_expected_where_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no files of {name} are here; expected below it") as error:
        Task.load(config(name, tmp_path))
    for form in TASKS[name].forms:
        for names in form.table.files.values():
            assert names[0] in str(error.value)


def test_a_half_unpacked_data_set_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "glue" / "QNLI").mkdir(parents=True)
    (tmp_path / "glue" / "QNLI" / "dev.tsv").write_text("index\tquestion\tsentence\tlabel\n")
    with pytest.raises(UserError, match=r"QNLI/train\.tsv: of qnli \(form 'glue'\) this file is missing"):
        Task.load(config("qnli", tmp_path))


def test_other_bytes_than_the_known_ones_are_refused(tmp_path: Path) -> None:
    original = next(one for one in ORIGINALS if one.name == "cola")
    original.write(tmp_path)
    with pytest.raises(UserError, match=r"CoLA/train\.tsv: not the known file: sha256 is .*task\.verify=false"):
        Task.load(config("cola", tmp_path))


def test_an_unknown_task_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no registered task is called 'sst2' .*did you mean sst-2\?"):
        Task.load(config("sst2", tmp_path))


def test_a_passage_that_is_none_is_named(tmp_path: Path) -> None:
    original = next(one for one in ORIGINALS if one.name == "race")
    original.write(tmp_path)
    (tmp_path / "RACE/dev/high/1.txt").write_text('{"article": "x"}')
    with pytest.raises(UserError, match=r"dev/high/1\.txt: not a passage with article, questions"):
        Task.load(config("race", tmp_path))


def test_every_task_has_a_config(tmp_path: Path) -> None:
    folder = Path(__file__).parents[4] / "configs" / "finetune"
    for name in TASKS:
        given = [f"init.checkpoint={tmp_path}", f"task.root={tmp_path}"]
        loaded = load(str(folder / f"{name}.yaml"), FinetuneConfig, given)
        assert (loaded.task.name, loaded.run.name, loaded.task.table) == (name, name, None)
        with pytest.raises(UserError, match=r"init\.checkpoint|init is missing"):
            load(str(folder / f"{name}.yaml"), FinetuneConfig)


def test_the_table_of_the_example_config(tmp_path: Path) -> None:
    path = Path(__file__).parents[4] / "configs" / "finetune" / "own-table.yaml"
    rows = "text,label\n" + "".join(f"row {n},{n % 2}\n" for n in range(40))
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(rows)
    given = ["init.checkpoint=x", f"task.root={tmp_path}", f"task.cache={tmp_path}/cache"]
    task = Task.load(load(str(path), FinetuneConfig, given).task)
    assert task.labels == ["negative", "positive"]
    assert len(task.splits["test"]) == 40


def test_the_documentation_names_every_form_and_file() -> None:
    text = (Path(__file__).parents[4] / "docs" / "finetune.md").read_text(encoding="utf-8")
    for name, task in TASKS.items():
        assert f"| `{name}` " in text
        assert [metric for metric in task.metrics if metric not in text] == []
        for form in task.forms:
            assert f"{form.name}" in text
            assert any(folder in text for folder in form.folders if folder)
            for files in form.table.files.values():
                assert [one for one in files if one not in text and "/" not in one] == []
