from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from small_experiment import ARMS, experiment

from pipeline.experiments.plan import Child, children
from pipeline.experiments.plot import draw
from pipeline.experiments.run import Took, left
from pipeline.experiments.summary import Outcome, finals, markdown, summarize, to_csv


@pytest.fixture
def everything(tmp_path: Path) -> list[Child]:
    settings, file = experiment(tmp_path, seeds=[1, 2, 3])
    return children(settings, file)


def outcomes(everything: list[Child]) -> dict[str, Outcome]:
    """0.5, 0.6 and 0.9 with the three seeds; the last child is missing."""
    return {
        child.name: Outcome(child, {"test/accuracy": 0.5 + 0.1 * (child.seed - 1) ** 2, "test/majority": 0.35})
        for child in everything[:-1]
    }


def test_rows_have_the_median_and_range_of_the_seeds(everything: list[Child]) -> None:
    metrics = ["test/accuracy", "test/f1"]
    rows = summarize(everything, outcomes(everything), metrics)
    assert [(row.arm, row.at, row.seeds, row.of) for row in rows] == [
        ("scratch", 9, 3, 3),
        ("scratch", 30, 3, 3),
        ("counts", None, 3, 3),
        ("again", 9, 3, 3),
        ("again", 30, 2, 3),
    ]
    spread = rows[0].spreads["test/accuracy"]
    assert (spread.median, spread.low, spread.high) == pytest.approx((0.6, 0.5, 0.9))
    assert rows[4].spreads["test/accuracy"].median == pytest.approx(0.55)
    table = markdown("Title", "labels", rows, metrics)
    assert "|  | labels | test/accuracy, % | test/f1, % | seeds |" in table
    assert "| scratch | all | 60.0 (50.0 to 90.0) |  | 3 |" in table
    assert "| again | all | 55.0 (50.0 to 60.0) |  | 2 of 3 |" in table
    assert finals(rows)["scratch/all/test/accuracy/median"] == pytest.approx(0.6)
    assert finals(rows)["counts/test/accuracy/max"] == pytest.approx(0.9)


def test_the_csv_has_a_line_for_every_child(everything: list[Child]) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(everything, outcomes(everything)))))
    assert [line["run"] for line in lines] == [child.name for child in everything]
    assert [line["complete"] for line in lines] == ["1"] * 14 + ["0"]
    assert (lines[0]["at"], lines[0]["label"], lines[0]["test/accuracy"]) == ("9.0", "9", "0.5")
    assert (lines[1]["at"], lines[-1]["test/accuracy"]) == ("", "")


def test_time_left_is_told_by_what_is_nearest(everything: list[Child]) -> None:
    scratch9, counts, again9, scratch_all, again_all = everything[:5]
    assert left(everything, []) is None
    took = [Took(scratch9, 10.0), Took(counts, 1.0), Took(scratch_all, 30.0)]
    assert left([everything[5]], took) == 10  # the same arm and point, another seed
    assert left([again9, again_all], took) == 20  # nothing of the arm: the median of all, twice
    assert left([], took) == 0


def test_plots_are_drawn_with_and_without_an_axis(tmp_path: Path) -> None:
    for changes in ({}, {"axis": None, "arms": ARMS}):
        settings, file = experiment(tmp_path, **changes)
        found = children(settings, file)
        files = draw(settings, summarize(found, outcomes(found), ["test/accuracy", "test/majority"]))
        assert files["svg"].startswith(b"<?xml")
        assert files["png"].startswith(b"\x89PNG")
        assert files == draw(settings, summarize(found, outcomes(found), ["test/accuracy", "test/majority"]))
        draw(settings, [])
