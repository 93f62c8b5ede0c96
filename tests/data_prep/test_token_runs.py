from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import store, token_runs
from data_prep.errors import CorruptFile
from data_prep.token_runs import KEYS, RunBuffer, key_range, merge, read_range, write_run

U16 = np.dtype(np.uint16)
Row = tuple[int, str, list[int]]


def write(path: Path, rows: list[Row], chunk: int = 3) -> None:
    buffer = RunBuffer(U16)
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        offsets = np.cumsum([0, *(len(tokens) for _, _, tokens in part)])
        tokens = np.array([t for _, _, tokens in part for t in tokens], np.uint32)
        keys, ids = [key for key, _, _ in part], [id for _, id, _ in part]
        lengths = [len(tokens) for _, _, tokens in part]
        buffer.add([0] * len(part), keys, ids, tokens, offsets, lengths, [1] * len(part))
    ((_, table, order),) = buffer.take()
    with path.open("wb") as handle:
        write_run(handle, table, order)


def rows_of(paths: list[Path], low: int = 0, high: int = KEYS) -> list[tuple[str, list[int]]]:
    merged = merge([batch for path in paths for batch in read_range(str(path), low, high)])
    assert merged.words == len(merged.ids)
    assert merged.text_bytes == sum(len(tokens) for tokens in merged.documents)
    return list(zip(merged.ids, [tokens.tolist() for tokens in merged.documents], strict=True))


_KEY = st.one_of(st.integers(0, 4), st.integers(KEYS - 3, KEYS - 1), st.integers(0, KEYS - 1))
_ROW = st.tuples(_KEY, st.text("ab", max_size=3), st.lists(st.integers(0, 65_535), max_size=6))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.lists(_ROW, min_size=1, max_size=12), min_size=1, max_size=4),
    st.lists(_KEY, max_size=4),
    st.integers(1, 30),
)
def test_ranges_of_all_runs_are_the_sorted_whole(
    tmp_path: Path, runs: list[list[Row]], cuts: list[int], batch_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_runs, "_BATCH_BYTES", batch_bytes)
        paths = [tmp_path / f"run-{i}" for i in range(len(runs))]
        for path, rows in zip(paths, runs, strict=True):
            write(path, rows)
    expected = sorted((row for rows in runs for row in rows), key=lambda row: row[:2])
    found = [
        item for low, high in pairwise([0, *sorted(cuts), KEYS]) if low < high for item in rows_of(paths, low, high)
    ]
    assert [id for id, _ in found] == [id for _, id, _ in expected]
    assert found == [(id, tokens) for _, id, tokens in expected]


@given(st.integers(1, 5000))
def test_the_ranges_are_all_keys_and_equal(count: int) -> None:
    bounds = [key_range(number, count) for number in range(count)]
    assert (bounds[0][0], bounds[-1][1]) == (0, KEYS)
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    sizes = {high - low for low, high in bounds}
    assert max(sizes) - min(sizes) <= 1


def test_groups_become_runs_of_their_own_and_the_buffer_is_empty_after() -> None:
    buffer = RunBuffer(U16)
    assert list(buffer.take()) == []
    buffer.add([1, 0, 1], [5, 6, 3], ["a", "b", "c"], np.array([1, 2, 3], np.uint32), np.arange(4), [1] * 3, [1] * 3)
    assert buffer.bytes == 6
    found = {group: table.column("id").take(rows).to_pylist() for group, table, rows in buffer.take()}
    assert found == {0: ["b"], 1: ["c", "a"]}
    assert buffer.bytes == 0
    assert list(buffer.take()) == []


def test_only_the_batches_of_the_range_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_runs, "_BATCH_BYTES", 20)
    path = tmp_path / "run"
    write(path, [(i, f"{i:03}", [i] * 5) for i in range(100)])
    reader = token_runs.pa.ipc.open_file(str(path))
    assert reader.num_record_batches == 50
    read = list(read_range(str(path), 40, 44))
    assert len(read) <= 4
    assert sum(batch.num_rows for batch in read) == 4


def test_a_run_on_an_object_store(tmp_path: Path) -> None:
    write(tmp_path / "run", [(7, "a", [1, 2]), (3, "b", [3])])
    store.write_bytes("memory://runs/run", (tmp_path / "run").read_bytes())
    merged = merge(list(read_range("memory://runs/run", 0, KEYS)))
    assert (merged.ids, [tokens.tolist() for tokens in merged.documents]) == (["b", "a"], [[3], [1, 2]])


def test_nothing_merges_to_nothing() -> None:
    assert merge([]).ids == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_damage_never_reaches_the_reader_as_a_strange_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "run"
    write(path, [(5, "a", [1, 2, 3]), (9, "b", [4]), (9, "c", [])])
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        merge(list(read_range(str(path), 0, KEYS)))
    except CorruptFile as error:
        assert str(error).startswith(f"{path}: not a run of tokens")
