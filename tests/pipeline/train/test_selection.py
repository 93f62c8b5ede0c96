from pathlib import Path

import pytest

from data_prep.errors import CorruptFile
from pipeline.train.selection import SELECTION, Selection


def selection(*values: float) -> Selection:
    found = Selection("accuracy")
    for number, value in enumerate(values, 1):
        found = found.with_value(10 * number, value)
    return found


def test_the_first_of_the_highest_values_is_the_best() -> None:
    assert Selection("accuracy").best is None
    assert Selection("accuracy").metrics() == {}
    found = selection(0.5, float("nan"), 0.75, 0.75, 0.25)
    assert found.best == 30
    assert found.metrics() == {"best/step": 30, "best/accuracy": 0.75}
    assert selection(float("nan")).best is None
    assert selection(-0.5, -0.25).best == 20


def test_a_run_that_goes_on_earlier_forgets_what_was_behind() -> None:
    assert selection(0.5, 0.75, 1.0).at(25).best == 20
    assert selection(0.5, 0.75, 1.0).at(5).values == ()


def test_better_ones_whose_checkpoint_is_gone_do_not_count() -> None:
    assert selection(0.5, 0.75, 1.0).where([10, 20]).best == 20
    assert selection(0.5, 0.75, 1.0).where([10, 20, 30]).best == 30
    assert selection(0.5, 0.75, 1.0).where([40]).best is None


def test_the_record_survives_a_restart_but_not_another_metric(tmp_path: Path) -> None:
    assert Selection.load(tmp_path, "accuracy") == Selection("accuracy")
    selection(0.5, float("nan"), 0.25).save(tmp_path)
    found = Selection.load(tmp_path, "accuracy")
    assert found.best == 10
    assert [step for step, _ in found.values] == [10, 20, 30]
    assert Selection.load(tmp_path, "f1").values == ()
    (tmp_path / SELECTION).write_text('{"metric": "accuracy", "values": [1]}')
    with pytest.raises(CorruptFile, match="not a record of validations"):
        Selection.load(tmp_path, "accuracy")
