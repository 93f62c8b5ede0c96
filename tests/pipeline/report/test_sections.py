"""Each part of the comparison from run folders, and none without data."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import orjson
import pytest
import report_folders
from report_runs import comparison

from data_prep.errors import CorruptFile, UserError
from pipeline.report.files import differences_csv, markdown, to_csv
from pipeline.report.folders import load_folders
from pipeline.report.plots import Plot
from pipeline.report.sections import Analysis, Section, analyse


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all runs; not to be written to."""
    path = tmp_path_factory.mktemp("runs")
    report_folders.write_all(path, "report")
    return path


@pytest.fixture(scope="module")
def analysis(folder: Path) -> Analysis:
    return analyse(load_folders([str(folder)]))


def section(analysis: Analysis, title: str) -> Section:
    (found,) = [one for one in analysis.sections if one.title.startswith(title)]
    return found


def plot(analysis: Analysis, title: str, name: str) -> Plot:
    found = section(analysis, title)
    return next(one for one in (*found.plots, *found.small) if one.title == name)


def test_every_part_has_its_plot(analysis: Analysis) -> None:
    assert [(one.title, len(one.plots) + len(one.small)) for one in analysis.sections] == [
        ("Pretraining", 1),
        ("Scaling", 2),
        ("Experiment layers: QQP: test accuracy by transferred layers", 1),
        ("Evaluation", 0),
        ("Paired differences", 0),
        ("Scores against model size", 3),
        ("Scores against solved examples", 3),
        ("Scores over pretraining", 1),
        ("Arithmetic", 0),
    ]
    assert all(one.series for s in analysis.sections for one in (*s.plots, *s.small))


def test_nothing_is_shown_without_data() -> None:
    assert analyse(comparison([])).sections == []
    assert analyse(comparison([])).tables == []


def test_losses_against_flops_have_the_law_of_their_frontier(analysis: Analysis) -> None:
    flops = plot(analysis, "Scaling", "Validation loss against training FLOPs")
    assert [line.label for line in flops.series] == ["tiny", "small", "medium", "power law of the frontier"]
    tiny = flops.series[0].points
    assert tiny[0] == (6 * 42_000 * 10_001, report_folders.loss(42_000, 10_000))
    assert len(tiny) == 12
    (laws,) = section(analysis, "Scaling").tables
    assert [(row[0], row[1]) for row in laws.rows][-1] == ("frontier of all runs", "FLOPs")
    assert len(laws.rows) == 4


def test_scores_against_size_have_a_line_for_each_number_of_examples_and_published_ones(analysis: Analysis) -> None:
    piqa = plot(analysis, "Scores against model size", "piqa: accuracy")
    assert [line.label for line in piqa.series] == ["0-shot", "1-shot", "4-shot", "GPT-3, 0-shot, published"]
    assert [x for x, _ in piqa.series[0].points] == sorted(report_folders.SIZES.values())
    assert piqa.series[3].points == [(125e6, 0.64), (175e9, 0.81)]
    assert piqa.series[3].colour == piqa.series[0].colour
    assert [one.label for one in piqa.references] == ["chance"]


def test_curves_over_examples_have_the_mean_and_the_range_of_the_seeds(analysis: Analysis) -> None:
    found = plot(analysis, "Scores against solved examples", "two-digit-addition: exact")
    (line,) = [one for one in found.series if one.label == "suite-tiny"]
    scores = {s.variant: s.estimate.value for s in report_folders.suite("tiny")[0] if s.task == "two-digit-addition"}
    one, two = scores["4-shot/seed-1"], scores["4-shot/seed-2"]
    assert line.points[-1] == (4, pytest.approx((one + two) / 2))
    assert line.band[-1] == (min(one, two), max(one, two))
    assert line.band[0] == (line.points[0][1], line.points[0][1])
    assert found.ticks == {0: "0", 1: "1", 4: "4"}


def test_a_pretraining_run_s_own_scores_are_drawn_with_their_errors(analysis: Analysis) -> None:
    found = plot(analysis, "Scores over pretraining", "piqa 0-shot: accuracy")
    assert [line.label for line in found.series] == ["tiny", "small", "medium"]
    assert found.series[0].points[0] == (10_000, 0.52)
    assert found.series[0].band[0] == (pytest.approx(0.52 - 0.0392), pytest.approx(0.52 + 0.0392))


def test_an_experiment_is_a_curve_of_medians_and_says_what_is_missing(analysis: Analysis) -> None:
    found = section(analysis, "Experiment").plots[0]
    (line,) = found.series
    assert line.points == [(-1.0, pytest.approx(0.615)), (0.0, 0.645), (2.0, pytest.approx(0.705)), (4.0, 0.76)]
    assert line.band[0] == (0.61, 0.62)
    assert found.ticks == {-1.0: "none", 0.0: "0", 2.0: "2", 4.0: "4"}
    assert "7 of 8 runs are complete" in found.note
    assert [one.value for one in found.references] == [0.6]


def test_paired_differences_are_those_of_the_same_examples(analysis: Analysis) -> None:
    found = {(one.run.name, one.task, one.variant): one for one in analysis.differences}
    assert len(found) == 2 * 3 * 5
    one = found["suite-medium", "piqa", "0-shot"]
    right = {m: next(r["right"] for r in report_folders._rows(m) if r["task"] == "piqa") for m in ("tiny", "medium")}
    assert one.baseline.name == "suite-tiny"
    assert one.found["difference"] == pytest.approx((sum(right["medium"]) - sum(right["tiny"])) / 60)
    assert one.low < one.found["difference"] < one.high
    assert all(each.adjusted >= each.found["p_value"] for each in analysis.differences)
    assert [one.found["p_value"] for one in analysis.differences] == sorted(
        one.found["p_value"] for one in analysis.differences
    )
    rows = list(csv.DictReader(io.StringIO(differences_csv(analysis.differences))))
    assert float(rows[0]["low"]) == analysis.differences[0].low


def test_a_run_on_other_examples_is_not_compared_and_says_why(folder: Path, tmp_path: Path) -> None:
    for name in ("suite-tiny", "suite-small"):
        shutil.copytree(folder / name, tmp_path / name)
    lines = (tmp_path / "suite-small" / "examples" / "piqa.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "suite-small" / "examples" / "piqa.jsonl").write_text("".join(lines[1:]))
    found = analyse(load_folders([str(tmp_path / "suite-tiny"), str(tmp_path / "suite-small")]))
    reasons = {one.found["not_compared"] for one in found.differences if not one.compared}
    assert reasons == {"the other run has other examples"}
    assert found.differences[0].baseline.name == "suite-tiny"


def test_arithmetic_is_a_heat_map_of_tasks_by_runs_and_examples(analysis: Analysis) -> None:
    heat = section(analysis, "Arithmetic").heat_map
    assert heat is not None
    assert list(heat.rows) == ["two-digit-addition", "three-digit-addition"]
    assert heat.groups == [("suite-tiny", 3), ("suite-small", 3), ("suite-medium", 3)]
    score = next(s for s in report_folders.suite("tiny")[0] if (s.task, s.variant) == (heat.rows[0], "0-shot"))
    assert heat.values[0][heat.columns.index(("suite-tiny", "0-shot"))] == score.estimate.value


def test_markdown_has_every_table_and_csv_every_figure(analysis: Analysis) -> None:
    text = markdown(analysis)
    assert re.findall(r"^## (.*)$", text, flags=re.M) == [one.title for one in analysis.tables]
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    rows = {row["run"]: row for row in csv.DictReader(io.StringIO(to_csv(analysis)))}
    assert set(rows) == {*report_folders.SIZES, *(f"suite-{name}" for name in report_folders.SIZES), "layers"}
    assert float(rows["tiny"]["metric.val/loss"]) == report_folders.loss(42_000, 120_000)
    assert float(rows["tiny"]["training_flops"]) == 6 * 42_000 * 120_001
    assert (rows["suite-tiny"]["model"], rows["suite-tiny"]["parameters"]) == ("tiny", "42000")
    assert rows["suite-tiny"]["metric.val/loss"] == ""


def test_a_damaged_file_and_a_folder_without_a_run_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run lies here"):
        load_folders([str(tmp_path)])
    for name, file, message in (
        ("suite-tiny", "result.json", "not the result of an evaluation"),
        ("layers", "experiment.yaml", "not the files of an experiment"),
    ):
        shutil.copytree(folder / name, tmp_path / name)
        (tmp_path / name / file).write_text('{"suite": {"scores": [{}]}}')
        with pytest.raises(CorruptFile, match=message):
            analyse(load_folders([str(tmp_path / name)]))


def test_evaluations_of_all_checkpoints_are_drawn_beside_the_run_s_own_scores(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "suite-tiny", tmp_path / "curve")
    shutil.copytree(folder / "tiny", tmp_path / "tiny")
    scores, _ = report_folders.suite("tiny")
    points = [
        {"step": step, "tokens": 10_000 * step, "scores": [score.as_data() for score in scores]} for step in (1, 2, 3)
    ]
    (tmp_path / "curve" / "result.json").write_bytes(orjson.dumps({"curve": points}))
    found = analyse(load_folders([str(tmp_path)]))
    both = plot(found, "Scores over pretraining", "piqa 0-shot: accuracy")
    assert [line.label for line in both.series] == ["suite-tiny", "tiny"]
    assert [x for x, _ in both.series[0].points] == [10_000, 20_000, 30_000]
    assert [one.label for one in both.references] == ["chance"]
    assert both.series[0].colour != both.series[1].colour
