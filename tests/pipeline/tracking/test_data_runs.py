import hashlib
import json
import os
from pathlib import Path

import pytest

from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef, StageManifest, Totals
from pipeline.config.schema import TaskConfig
from pipeline.finetune.task import task_digest
from pipeline.tracking.connection import connect
from pipeline.tracking.data_runs import track_data
from pipeline.tracking.runfolder import RunRecord


def make_stage(root: Path, name: str, upstream: dict[str, str], totals: Totals, files: tuple[str, ...] = ()) -> str:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"tasks": [{"inputs": {"dumps": [{"path": "in/RS_1.zst"}, {"path": "in/RS_2.zst"}]}}]}
    (folder / "plan.json").write_text(json.dumps(plan))
    outputs = tuple(FileRef(f, FileRef.of(str(folder / f)).sha256, 1) for f in files)
    manifest = StageManifest(name, f"0.1.0+{name}.1", {"min_karma": 3}, upstream, totals, outputs, {"share": 0.5})
    manifest.save(str(folder))
    os.utime(folder / "plan.json", (1000, 1000))
    os.utime(folder / "stage.json", (1012.5, 1012.5))
    return manifest.digest


def make_chain(root: Path) -> dict[str, str]:
    # Named so that the alphabet is not the order of the chain.
    submissions = make_stage(root, "submissions", {"dumps": "r" * 64}, Totals(10, 8, {"self post": 2}, {"bytes": 99}))
    links = make_stage(root, "links", {"submissions": submissions}, Totals(8, 5, {"karma below 3": 3}))
    return {"submissions": submissions, "links": links}


def test_each_stage_becomes_a_run_with_counts_settings_time_and_lineage(tmp_path: Path, mlflow_store: str) -> None:
    digests = make_chain(tmp_path / "data")
    run_dirs = track_data(tmp_path / "data", mlflow_store, "data")
    assert list(run_dirs) == ["submissions", "links"]
    assert all(folder.is_relative_to(tmp_path) for folder in run_dirs.values())
    client = connect(mlflow_store)
    runs = {r.info.run_name: r for r in client.search_runs([client.get_experiment_by_name("data").experiment_id])}
    first, second = runs["submissions"], runs["links"]
    assert first.data.metrics == {
        "rows_in": 10,
        "rows_out": 8,
        "dropped/self post": 2,
        "extra/bytes": 99,
        "summary/share": 0.5,
        "seconds": 12.5,
    }
    assert first.data.params == {"min_karma": "3"}
    assert first.data.tags["digest"] == digests["submissions"]
    assert (first.info.status, first.info.start_time, first.info.end_time) == ("FINISHED", 1_000_000, 1_012_500)
    (raw,) = client.get_run(first.info.run_id).inputs.dataset_inputs
    assert (raw.dataset.name, raw.dataset.digest) == ("dumps", "r" * 32)
    assert "in/RS_1.zst and 1 more files" in raw.dataset.source
    assert second.data.tags["upstream.data/submissions"] == digests["submissions"]
    assert second.data.tags["upstream.data/submissions.run_id"] == first.info.run_id


def test_a_second_time_changes_nothing_and_a_new_manifest_makes_a_new_run(tmp_path: Path, mlflow_store: str) -> None:
    make_chain(tmp_path / "data")
    run_dirs = track_data(tmp_path / "data", mlflow_store, "twice")
    files = [run_dirs["links"] / "run.json", run_dirs["links"] / "mlflow.json"]
    before = [file.stat().st_mtime_ns for file in files]
    track_data(tmp_path / "data", mlflow_store, "twice")
    assert [file.stat().st_mtime_ns for file in files] == before
    client = connect(mlflow_store)
    experiment = client.get_experiment_by_name("twice").experiment_id
    assert len(client.search_runs([experiment])) == 2
    make_stage(tmp_path / "data", "links", {"submissions": "0" * 64}, Totals(8, 4, {"karma below 3": 4}))
    track_data(tmp_path / "data", mlflow_store, "twice")
    runs = client.search_runs([experiment])
    assert sorted(r.data.metrics["rows_out"] for r in runs) == [4, 5, 8]


def test_a_token_dataset_and_a_labelled_task_are_found_by_the_digests_that_training_names(tmp_path: Path) -> None:
    root = tmp_path / "data"
    labelled = root / "tasks" / "labelled"
    labelled.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = [{"text": f"{split} {label}", "label": label} for label in ("a", "b")]
        (labelled / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (labelled / "labels.json").write_text("{}")
    files = ("labelled/labels.json", *(f"labelled/{split}.jsonl" for split in ("train", "validation", "test")))
    make_stage(root, "tasks", {}, Totals(1, 1), files)
    make_stage(root, "shards", {}, Totals(1, 1))
    (root / "shards" / "manifest.json").write_text(json.dumps({"digest": "5" * 64}))
    run_dirs = track_data(root, None)
    assert RunRecord.load(run_dirs["tasks"]).tags["task_digest"] == task_digest(
        TaskConfig(name="labelled", path=str(labelled))
    )
    assert RunRecord.load(run_dirs["shards"]).tags["dataset_digest"] == "5" * 64


def make_report(root: Path, stage: str, digest: str) -> Path:
    page = root / "report" / f"{stage}.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text("<!doctype html>")
    figures = {
        "format": 1,
        "stage": stage,
        "digest": digest,
        "page": {"name": page.name, "sha256": hashlib.sha256(page.read_bytes()).hexdigest()},
        "metrics": {"documents": 5, "words/p50": 279.5},
    }
    page.with_suffix(".json").write_text(json.dumps(figures))
    return page


def test_the_report_of_a_stage_belongs_to_its_run(tmp_path: Path, mlflow_store: str) -> None:
    root = tmp_path / "data"
    digests = make_chain(root)
    track_data(root, mlflow_store, "reports")  # first without
    make_report(root, "links", digests["links"])
    run_dir = track_data(root, mlflow_store, "reports")["links"]
    record = RunRecord.load(run_dir)
    assert (record.final["report/documents"], record.final["report/words/p50"]) == (5, 279.5)
    client = connect(mlflow_store)
    experiment = client.get_experiment_by_name("reports").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'links'")
    assert run.data.metrics["report/words/p50"] == 279.5
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_a_report_of_an_earlier_state_is_left_out_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    digests = make_chain(tmp_path)
    page = make_report(tmp_path, "links", "0" * 64)
    record = RunRecord.load(track_data(tmp_path, None)["links"])
    assert record.artifacts == []
    assert "report/documents" not in record.final
    make_report(tmp_path, "links", digests["links"])
    page.write_text("changed")
    with pytest.raises(CorruptFile, match="the page is not the one that was made with these figures"):
        track_data(tmp_path, None)
    page.with_suffix(".json").write_text(json.dumps({"digest": digests["links"]}))
    with pytest.raises(CorruptFile, match=r"not the figures of a report.*`data-prep report --stage links` again"):
        track_data(tmp_path, None)


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no completed stage here"):
        track_data(tmp_path, None)
    make_chain(tmp_path)
    path = tmp_path / "links" / "stage.json"
    path.write_text(path.read_text().replace('"rows_out": 5', '"rows_out": 6'))
    with pytest.raises(CorruptFile, match=r"links/stage\.json: the content does not match its digest"):
        track_data(tmp_path, None)
    path.write_text('{"digest": "x"}')
    with pytest.raises(CorruptFile, match="not a stage manifest"):
        track_data(tmp_path, None)
