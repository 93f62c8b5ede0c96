from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.documents import DOCUMENT, read_rows
from data_prep.errors import CorruptFile
from data_prep.stage import RowWriter

ROWS: list[dict[str, Any]] = [
    {
        "id": f"{i:032x}",
        "url": f"https://e.org/{i}",
        "text": "t\u00e4xt\0" * i,
        "source": "s",
        "score": None if i % 2 else i,
        "created_utc": i,
        "language": None,
        "metadata": "{}",
    }
    for i in range(3000)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.parquet"
    with path.open("wb") as handle:
        writer = RowWriter(handle, DOCUMENT)
        for row in ROWS[:2500]:
            writer.add(row)
        writer.add_table(pa.Table.from_pylist(ROWS[2500:], schema=DOCUMENT))
        writer.close()
        assert writer.rows == len(ROWS)
    return path


def test_rows_come_back_in_order(path: Path) -> None:
    assert list(read_rows(str(path))) == ROWS
    assert list(read_rows(str(path), ["url"])) == [{"url": row["url"]} for row in ROWS]


def test_a_writer_holds_a_bounded_number_of_rows(path: Path, tmp_path: Path) -> None:
    data = pq.ParquetFile(path).metadata
    groups = [data.row_group(i).num_rows for i in range(data.num_row_groups)]
    assert groups == [1024, 1024, 452, 500]
    with (tmp_path / "y").open("wb") as handle:
        writer = RowWriter(handle, DOCUMENT)
        for row in ROWS[:4]:
            writer.add({**row, "text": "x" * (9 << 20)})
        writer.close()
    assert pq.ParquetFile(tmp_path / "y").metadata.num_row_groups == 2


def test_a_document_without_its_text_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as handle, pytest.raises(pa.ArrowInvalid):
        writer = RowWriter(handle, DOCUMENT)
        writer.add({key: value for key, value in ROWS[0].items() if key != "text"})
        writer.close()


@pytest.mark.parametrize("keep", [0, 3, 1000, -1])
def test_a_cut_file_is_named(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptFile, match=f"^{path}: cannot be read as Parquet"):
        list(read_rows(str(path)))
