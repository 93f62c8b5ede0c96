"""One task at a time, in this process; `test_runner.py` runs whole stages with worker processes."""

import os
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_examples import NUMBERS, NumbersSettings, NumbersStage, numbers_stage

from data_prep import store
from data_prep.documents import read_rows
from data_prep.errors import UserError
from data_prep.manifest import FileRef, Totals
from data_prep.stage import Task, TaskOutput, load_task_manifest


@pytest.fixture
def stage(tmp_path: Path) -> NumbersStage:
    files = []
    for i, text in enumerate(("1 -2 3", "-4 5")):
        (tmp_path / f"{i}.txt").write_text(text)
        files.append(str(tmp_path / f"{i}.txt"))
    return numbers_stage(str(tmp_path / "out"), files)


def run(stage: NumbersStage, index: int = 0) -> None:
    task = stage.plan()[index]
    with TaskOutput(stage, task) as out:
        stage.run_task(task, out)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def left_over(folder: str) -> list[str]:
    return [p.name for p in Path(folder).rglob("*.tmp")]


def test_a_task_writes_rows_removals_and_last_its_manifest(stage: NumbersStage) -> None:
    run(stage)
    manifest = load_task_manifest(stage, stage.plan()[0])
    assert manifest is not None
    assert manifest.totals == Totals(3, 2, {"too small": 1}, {})
    assert [(ref.path, ref.rows) for ref in manifest.outputs] == [
        ("removed/00000.parquet", 1),
        ("part-00000.parquet", 2),
    ]
    assert list(read_rows(f"{stage.folder}/part-00000.parquet")) == [{"n": 1}, {"n": 3}]
    (removed,) = read_rows(f"{stage.folder}/removed/00000.parquet")
    assert removed == {
        "id": "-2",
        "url": "https://e.org/-2",
        "stage": "numbers",
        "reason": "too small",
        "score": -2.0,
        "detail": "",
    }
    assert left_over(stage.folder) == []
    assert load_task_manifest(stage, stage.plan()[1]) is None


def test_counting_without_a_log_row(stage: NumbersStage) -> None:
    task = stage.plan()[0]
    with TaskOutput(stage, task) as out:
        out.skip("self post", 3)
        out.drop("cluster", id="a", url="u", rows=2)
        out.extra["bytes"] += 7
    manifest = load_task_manifest(stage, task)
    assert manifest is not None
    assert manifest.totals == Totals(0, 0, {"cluster": 2, "self post": 3}, {"bytes": 7})


@pytest.mark.parametrize("error", [UserError("bad"), KeyError("bug"), KeyboardInterrupt(), pa.ArrowInvalid("x")])
def test_an_error_leaves_nothing(stage: NumbersStage, error: BaseException) -> None:
    task = stage.plan()[0]
    with pytest.raises(type(error)), TaskOutput(stage, task) as out:
        out.rows("a.parquet", NUMBERS).add({"n": 1})
        out.file("b.bin").write(b"half")
        raise error
    assert store.listing(f"{stage.folder}/**") == []
    assert left_over(stage.folder) == []


def test_an_error_while_closing_leaves_nothing(stage: NumbersStage) -> None:
    task = stage.plan()[0]
    with pytest.raises(pa.ArrowInvalid), TaskOutput(stage, task) as out:
        out.rows("a.parquet", NUMBERS).add({"n": "no number"})
    assert store.listing(f"{stage.folder}/**") == []
    assert left_over(stage.folder) == []


@pytest.mark.parametrize("when", ["while writing", "while closing", "at the start"])
def test_full_disk_is_one_clear_line_and_leaves_nothing(stage: NumbersStage, small_disk: Path, when: str) -> None:
    stage = NumbersStage(str(small_disk / "out"), NumbersSettings(), stage.inputs, {})
    task = stage.plan()[0]
    if when == "at the start":
        (small_disk / "filler").write_bytes(b"x" * ((1 << 20) - 4096))  # leaves no room for another folder
        (small_disk / "filler2").write_bytes(b"")
        with (small_disk / "filler2").open("wb", buffering=0) as handle, pytest.raises(OSError, match="No space"):
            while True:
                handle.write(b"x" * 512)
    before = names(small_disk)
    with (
        pytest.raises(UserError, match=f"^{stage.folder}: no space left on the device"),
        TaskOutput(stage, task) as out,
    ):
        handle = out.file("x")
        if when == "while closing":
            handle.write(os.urandom((1 << 20) - 1000))
            handle.write(b"y" * 4000)  # stays in the buffer until the end
        else:
            for _ in range(100):
                handle.write(os.urandom(100_000))
    assert left_over(stage.folder) == []
    assert load_task_manifest(stage, task) is None
    assert names(small_disk) - {"out"} == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "part-00000.parquet").unlink(),
        lambda folder: (folder / "part-00000.parquet").write_bytes(b"PAR1"),
        lambda folder: flip(folder / "part-00000.parquet"),
        lambda folder: flip(folder / "removed/00000.parquet"),
        lambda folder: (folder / "tasks/00000.json").write_bytes(b"{"),
        lambda folder: (folder / "tasks/00000.json").write_bytes(b"[]"),
        lambda folder: (folder / "tasks/00000.json").unlink(),
    ],
)
def test_a_damaged_task_is_not_complete(stage: NumbersStage, damage) -> None:  # type: ignore[no-untyped-def]
    run(stage)
    damage(Path(stage.folder))
    assert load_task_manifest(stage, stage.plan()[0]) is None


def test_a_manifest_of_other_settings_does_not_count(stage: NumbersStage) -> None:
    run(stage)
    other = NumbersStage(stage.folder, NumbersSettings(above=1), stage.inputs, {})
    assert load_task_manifest(stage, stage.plan()[0]) is not None
    assert load_task_manifest(other, other.plan()[0]) is None


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_plan_entry_names_all_that_decides_the_output(stage: NumbersStage, tmp_path: Path) -> None:
    task = stage.plan()[0]
    entries = {stage.plan_entry(task)}
    entries.add(NumbersStage(stage.folder, NumbersSettings(above=1), stage.inputs, {}).plan_entry(task))
    entries.add(stage.plan_entry(Task(0, task.inputs, {"partition": 1})))
    entries.add(stage.plan_entry(stage.plan()[1]))

    class Newer(NumbersStage):
        revision = 2

    entries.add(Newer(stage.folder, NumbersSettings(), stage.inputs, {}).plan_entry(task))
    assert len(entries) == 5
    # The same content elsewhere is the same work.
    moved = [FileRef("elsewhere", ref.sha256, ref.bytes) for ref in stage.inputs["files"]]
    assert stage.plan_entry(Task(0, {"files": moved[:1]}, {})) == stage.plan_entry(task)


def test_plans(stage: NumbersStage) -> None:
    refs = [
        FileRef(f"f/{name}.parquet", "", 0) for name in ("00000-00000", "00000-00001", "00001-00000", "00012-00000")
    ]
    stage.inputs = {"parts": refs, "links": refs[:1]}
    by_file = stage.one_task_per_file("parts", shared=("links",))
    assert [task.inputs for task in by_file] == [{"parts": [ref], "links": refs[:1]} for ref in refs]
    by_partition = stage.one_task_per_partition("parts", 13)
    assert [len(task.inputs["parts"]) for task in by_partition] == [2, 1] + [0] * 10 + [1]
    assert by_partition[12].params == {"partition": 12}


def test_an_empty_row_file_has_its_schema(stage: NumbersStage) -> None:
    task = stage.plan()[0]
    with TaskOutput(stage, task) as out:
        out.rows("none.parquet", NUMBERS)
    table = pq.read_table(f"{stage.folder}/none.parquet")
    assert (table.num_rows, table.schema) == (0, NUMBERS)


def test_on_an_object_store(stage: NumbersStage) -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    stage = NumbersStage(folder, NumbersSettings(), stage.inputs, {})
    run(stage)
    manifest = load_task_manifest(stage, stage.plan()[0])
    assert manifest is not None
    assert manifest.totals.rows_out == 2
    assert list(read_rows(f"{folder}/part-00000.parquet")) == [{"n": 1}, {"n": 3}]
    with pytest.raises(KeyError), TaskOutput(stage, stage.plan()[1]) as out:
        out.file("half").write(b"half")
        raise KeyError
    assert not store.exists(f"{folder}/half")
    assert not store.exists(f"{folder}/removed/00001.parquet")
