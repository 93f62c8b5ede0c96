from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.errors import CorruptFile
from pipeline.train.health_record import HEALTH, HealthRecord, Rollback

BACK = Rollback(7, 4, (48, 84), "loss nan")


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert HealthRecord.load(tmp_path) == HealthRecord()
    record = HealthRecord().with_skipped(3).with_skipped(6).with_rollback(BACK)
    record.save(tmp_path)
    assert HealthRecord.load(tmp_path) == record == HealthRecord((3,), (BACK,))


def test_a_resume_forgets_steps_and_no_rollback() -> None:
    record = HealthRecord((3, 6), (BACK,))
    assert record.at(5) == HealthRecord((3,), (BACK,))
    assert record.at(6) == record


@pytest.mark.parametrize("content", ["{", "[]", '{"skipped": []}', '{"skipped": [1], "rollbacks": [{"step": 1}]}'])
def test_a_damaged_one_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / HEALTH).write_text(content)
    with pytest.raises(CorruptFile, match=HEALTH):
        HealthRecord.load(tmp_path)
