import math
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import CorruptFile, UserError
from pipeline.tracking import runfolder
from pipeline.tracking.runfolder import (
    CUT_FILE,
    METRICS_FILE,
    CheckpointRecord,
    MetricRecord,
    RunInfo,
    RunRecord,
    cut_back,
    read_metrics,
    records_of,
)

names = st.text(min_size=1, max_size=8)
values = st.floats(allow_nan=False)
records = st.lists(
    st.builds(
        MetricRecord,
        step=st.integers(0, 20),
        tokens=st.integers(0, 1 << 40),
        time=st.floats(0, 2e9),
        metrics=st.dictionaries(names, values, max_size=3),
    ),
    max_size=12,
)


def write(folder: Path, content: bytes) -> None:
    (folder / METRICS_FILE).write_bytes(content)


@given(records, st.binary(max_size=10).filter(lambda b: b"\n" not in b), st.integers(-1, 21))
def test_cut_back_keeps_exactly_the_complete_records_up_to_the_step(
    written: list[MetricRecord], torn: bytes, step: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, b"".join(r.to_line() for r in written) + torn)
        cut_back(folder, step)
        assert [r for _, r in read_metrics(folder)] == [r for r in written if r.step <= step]
        assert (folder / METRICS_FILE).read_bytes()[-1:] in (b"", b"\n")
        # Nothing is lost: what was cut is beside it.
        assert [r for _, r in read_metrics(folder, 0, CUT_FILE)] == [r for r in written if r.step > step]


@given(records, st.integers(0, 20), st.integers(1, 200), st.binary(max_size=10).filter(lambda b: b"\n" not in b))
def test_the_records_of_a_step_are_found_from_the_end(
    written: list[MetricRecord], step: int, tail: int, torn: bytes
) -> None:
    written = sorted(written, key=lambda r: r.step)
    with tempfile.TemporaryDirectory() as name, patch.object(runfolder, "_TAIL", tail):
        folder = Path(name)
        write(folder, b"".join(r.to_line() for r in written) + torn)
        assert records_of(folder, step) == [r for r in written if r.step == step]


@given(records)
def test_reading_goes_on_from_any_offset_that_it_gave(written: list[MetricRecord]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, b"".join(r.to_line() for r in written))
        found = list(read_metrics(folder))
        assert [r for _, r in found] == written
        for i, (offset, _) in enumerate(found):
            assert [r for _, r in read_metrics(folder, offset)] == written[i + 1 :]


def test_values_without_a_json_number_come_back(tmp_path: Path) -> None:
    write(tmp_path, MetricRecord(1, 2, 3.0, {"a": math.nan, "b": math.inf, "c": -math.inf}).to_line())
    ((_, record),) = read_metrics(tmp_path)
    assert math.isnan(record.metrics["a"])
    assert (record.metrics["b"], record.metrics["c"]) == (math.inf, -math.inf)
    assert b"NaN" not in (tmp_path / METRICS_FILE).read_bytes()


@pytest.mark.parametrize("line", [b"{}\n", b"not json\n", b'{"step":1,"tokens":2,"time":3,"metrics":{"a":"x"}}\n'])
def test_a_damaged_line_names_its_byte(tmp_path: Path, line: bytes) -> None:
    good = MetricRecord(1, 2, 3.0, {"a": 1.0}).to_line()
    write(tmp_path, good + line)
    with pytest.raises(CorruptFile, match=f"{METRICS_FILE}, byte {len(good)}"):
        list(read_metrics(tmp_path))


def test_the_run_record_comes_back(tmp_path: Path) -> None:
    inputs = [runfolder.DatasetInput("webtext/train", "a" * 64, "/data", "training")]
    info = RunInfo("run", "pretrain", {"a": 1, "b": None}, {"x": "y"}, inputs)
    record = RunRecord.new(info, "webtext", 123)
    record.final = {"loss": math.inf}
    record.checkpoints = [
        CheckpointRecord("checkpoints/step_1", "d" * 64, 1, 10, 99, None, {"val/loss": (2.5, 98)}),
        CheckpointRecord("/elsewhere/step_2", "e" * 64, 2, 20, 99, "s3://b/step_2", {"val/loss": (-math.inf, 98)}),
    ]
    record.save(tmp_path)
    again = RunRecord.load(tmp_path)
    assert again == record
    assert again.digest == record.digest
    assert (again.params, again.tags) == ({"a": "1", "b": "None"}, {"x": "y", "stage": "pretrain"})


def test_a_folder_without_a_run_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tracked run here"):
        RunRecord.load(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 1, "name": "x"}')
    with pytest.raises(CorruptFile, match="not a run record"):
        RunRecord.load(tmp_path)
