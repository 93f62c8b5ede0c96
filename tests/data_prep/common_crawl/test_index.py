from __future__ import annotations

import contextlib
import gzip
import random
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_index import Row, lines, serve, write_cluster, write_parquet

from data_prep.common_crawl.capture import Capture
from data_prep.common_crawl.index import open_indexes
from data_prep.common_crawl.ranges import Ranges
from data_prep.errors import CorruptFile, UserError

RANGES = Ranges(0)


def rows(number: int, repeats: int = 1) -> list[Row]:
    """Captures under keys that sort differently as text and by their numbers."""
    return [
        {
            "key": f"com,site{i % 7})/{i}",
            "timestamp": f"2015010100{repeat // 60:02d}{repeat % 60:02d}",
            "url": f"http://site{i % 7}.com/{i}",
            "mime": "text/html",
            "status": "200",
            "length": "10",
            "offset": str(i),
            "filename": "x.warc.gz",
        }
        for i in range(number)
        for repeat in range(repeats)
    ]


def make(form: str, folder: Path, content: list[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if form == "parquet":
        return write_parquet(folder, content)
    if form == "cluster":
        return write_cluster(folder, lines(content))
    path = folder / f"index.{form}"
    path.write_bytes(gzip.compress(b"".join(lines(content))) if form == "cdxj.gz" else b"".join(lines(content)))
    return path


def search(path: str, keys: list[str], damaged: list[str] | None = None) -> list[Capture]:
    told = damaged if damaged is not None else []
    found = [c for index in open_indexes(path, RANGES, told.append) for c in index.captures(sorted(keys))]
    assert damaged is not None or not told
    return found


FORMS = ["cdxj", "cdxj.gz", "cluster", "parquet"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("repeats", [1, 5])
def test_exactly_the_captures_of_the_keys(tmp_path: Path, form: str, repeats: int) -> None:
    content = rows(200, repeats)
    path = str(make(form, tmp_path, content))
    all_keys = sorted({row["key"] for row in content})
    draw = random.Random(1)
    for keys in (all_keys, all_keys[:1], all_keys[-1:], draw.sample(all_keys, 20), ["a", "zzz"], []):
        found = search(path, [*keys, "com,site3)/none"])
        expected = [(row["key"], row["url"], int(row["offset"])) for row in content if row["key"] in keys]
        assert sorted((c.key, c.url, c.offset) for c in found) == sorted(expected)
    (first, *_) = search(path, ["com,site0)/0"])
    assert (first.seconds, first.status, first.mime, first.length) == (1420070400, 200, "text/html", 10)


@pytest.mark.parametrize("form", FORMS)
def test_other_file_systems(tmp_path: Path, form: str) -> None:
    path = make(form, tmp_path / "data", rows(50))
    keys = ["com,site1)/1", "com,site6)/48"]
    expected = search(str(path), keys)
    assert len(expected) == 2
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "data"), "/index", recursive=True)
    inside = f"memory://index/{path.relative_to(tmp_path / 'data')}"
    assert search(inside.rstrip("/."), keys) == expected
    memory.rm("/index", recursive=True)
    if form != "parquet":  # a web server lists no folders
        with serve(tmp_path / "data") as served:
            remote = f"{served.url}/{path.relative_to(tmp_path / 'data')}".rstrip("/.")
            assert search(remote, keys) == expected
    else:
        with serve(path) as served:
            files = [f"{served.url}/{file.name}" for file in sorted(path.iterdir())]
            assert [capture for file in files for capture in search(file, keys)] == expected


@pytest.mark.parametrize("form", ["cdxj", "cluster"])
def test_far_keys_are_found_by_bisection(tmp_path: Path, form: str) -> None:
    """A remote index is read in parts, not from its start."""
    content = [{**row, "mime": "text/html" + "x" * 300} for row in rows(12_000)]
    if form == "cluster":
        write_cluster(tmp_path, lines(content), per_block=1, files=1)
        # As wide as a real one, so that it is worth searching.
        file = tmp_path / "cluster.idx"
        file.write_text("".join(f"{line}\t{'x' * 300}\n" for line in file.read_text().splitlines()))
    else:
        make(form, tmp_path, content)
    name = "index.cdxj" if form == "cdxj" else "cluster.idx"
    size = (tmp_path / name).stat().st_size
    with serve(tmp_path) as served:
        (found,) = search(f"{served.url}/{name}", ["com,site5)/9994"])
        asked = [span for path, span in served.requests if path == f"/{name}"]
        read = sum(int(end) - int(start) + 1 for start, end in (s.removeprefix("bytes=").split("-") for s in asked))
    assert found.offset == 9994
    assert read < size * 0.8
    keys = [row["key"] for row in content[::1000]]
    assert len(search(str(tmp_path / name), keys)) == len(keys)


@pytest.mark.parametrize(
    "line",
    [
        b"com,site1)/1 20150101000000 {not json}\n",
        b"com,site1)/1 20150101000000 []\n",
        b'com,site1)/1 2015 {"url": "http://site1.com/1"}\n',
        b"com,site1)/1\n",
        b'com,site1)/1 20150101000000 {"url": "http://site1.com/1", "offset": "x", "length": "1", "filename": "f"}\n',
        b'com,site1)/1 20150101000000 {"url": "http://site1.com/1", "offset": "1", "length": "0", "filename": "f"}\n',
        b'com,site1)/1 20150101000000 {"url": "http://site1.com/1", "offset": "1", "length": "5"}\n',
        b"com,site1)/1 20159901000000 {}\n",
        b"com,site1)/1 20150101000000 {\xff}\n",
    ],
)
@pytest.mark.parametrize("form", ["cdxj", "cdxj.gz", "cluster"])
def test_a_damaged_line_is_told_and_passed_over(tmp_path: Path, form: str, line: bytes) -> None:
    content = sorted([*lines(rows(30)), line])
    if form == "cluster":
        path = write_cluster(tmp_path, content)
    else:
        path = tmp_path / f"index.{form}"
        path.write_bytes(gzip.compress(b"".join(content)) if form == "cdxj.gz" else b"".join(content))
    damaged: list[str] = []
    assert len(search(str(path), ["com,site1)/1", "com,site2)/2"], damaged)) == 2
    assert len(damaged) == 1


@pytest.mark.parametrize("form", ["cdxj", "cdxj.gz"])
def test_a_file_that_is_not_sorted_is_an_error(tmp_path: Path, form: str) -> None:
    content = lines(rows(30))
    content[10], content[20] = content[20], content[10]
    path = tmp_path / f"index.{form}"
    path.write_bytes(gzip.compress(b"".join(content)) if form == "cdxj.gz" else b"".join(content))
    with pytest.raises(CorruptFile, match="not sorted"):
        search(str(path), [row["key"] for row in rows(30)])


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    at = 4 if path.suffix == ".parquet" else 30  # the header of a page; data itself carries no checksum
    path.write_bytes(data[: len(data) // 2] if how == "cut" else data[:at] + b"damaged" + data[at + 7 :])


@pytest.mark.parametrize("how", ["cut", "overwritten"])
@pytest.mark.parametrize(
    ("form", "file"), [("cdxj.gz", "index.cdxj.gz"), ("cluster", "cdx-00000.gz"), ("parquet", "part-00000.gz.parquet")]
)
def test_damaged_files_are_clear_errors(tmp_path: Path, form: str, file: str, how: str) -> None:
    path = make(form, tmp_path, rows(100))
    damage(next(tmp_path.rglob(file)), how)
    with pytest.raises(CorruptFile, match=file):
        search(str(path), [row["key"] for row in rows(100)])


@pytest.mark.parametrize("entry", ["com,a)/ 2015\tcdx.gz\tx\t5\t1", "com,a)/ 2015\t../cdx.gz\t0\t5\t1", "com,a)/"])
def test_a_damaged_cluster_file(tmp_path: Path, entry: str) -> None:
    (tmp_path / "cluster.idx").write_text(f"{entry}\n")
    with pytest.raises(CorruptFile, match=r"not a line of cluster\.idx"):
        search(str(tmp_path), ["com,b)/"])


def test_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither cluster\.idx nor"):
        search(str(tmp_path), ["com,a)/"])
    with pytest.raises(UserError, match="no such file"):
        search(str(tmp_path / "nowhere.cdxj"), ["com,a)/"])
    pq.write_table(pa.table({"url": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="has no column url_surtkey"):
        search(str(tmp_path), ["com,a)/"])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fuzz_a_mutated_index_gives_captures_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray(b"".join(lines(rows(30))))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        junk: Any = data.draw(st.binary(min_size=1, max_size=30))
        content[at : at + data.draw(st.integers(0, 30))] = junk
    (folder / "index.cdxj").write_bytes(content)
    with contextlib.suppress(UserError):
        search(str(folder), [row["key"] for row in rows(30)], [])
