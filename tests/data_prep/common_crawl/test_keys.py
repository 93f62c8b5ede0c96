from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from front_chain import refs

from data_prep.common_crawl.keys import KEY, key_ranges, read_range
from data_prep.errors import CorruptFile
from data_prep.manifest import FileRef


def files(folder: Path, keys: list[list[str]]) -> list[FileRef]:
    for number, part in enumerate(keys):
        rows = [{"key": key, "id": f"{i:04d}", "url": key, "created_utc": i} for i, key in enumerate(sorted(part))]
        pq.write_table(pa.Table.from_pylist(rows, schema=KEY), folder / f"{number}.parquet", row_group_size=4)
    return refs(*sorted(folder.glob("*.parquet")))


@pytest.mark.parametrize("rows", [1, 10, 40, 10**6])
def test_ranges_hold_every_row_once_in_order(tmp_path: Path, rows: int) -> None:
    draw = random.Random(2)
    keys = [[f"com,a{draw.randrange(60):02d})/" for _ in range(50)] for _ in range(3)]
    made = files(tmp_path, [*keys, []])
    ranges = key_ranges(made, rows)
    assert [start for start, _ in ranges[1:]] == [end for _, end in ranges[:-1]]
    assert (ranges[0][0], ranges[-1][1]) == ("", None)
    parts = [read_range(made, start, end)["key"].to_pylist() for start, end in ranges]
    assert [key for part in parts for key in part] == sorted(key for part in keys for key in part)
    assert len(ranges) == 1 if rows > 150 else len(ranges) > 2
    # A key is never divided, and no range holds much more than was asked for.
    assert all(len(part) <= rows + 30 for part in parts)


def test_no_rows_are_one_empty_range(tmp_path: Path) -> None:
    made = files(tmp_path, [[]])
    assert key_ranges(made, 5) == [("", None)]
    assert read_range(made, "", None).num_rows == 0


def test_a_cut_file_is_a_clear_error(tmp_path: Path) -> None:
    made = files(tmp_path, [["com,a)/"] * 20])
    Path(made[0].path).write_bytes(Path(made[0].path).read_bytes()[:100])
    with pytest.raises(CorruptFile, match=r"0\.parquet: cannot be read"):
        key_ranges(made, 5)
