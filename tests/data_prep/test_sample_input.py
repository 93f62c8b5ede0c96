from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from front_chain import html, write_warc

from data_prep.dumps import DumpReader
from data_prep.errors import CorruptFile
from data_prep.sample_input import cut_archive, cut_dump, sample
from data_prep.warc import read_heads

RNG = random.Random(5)
LINES = [json.dumps({"id": i, "noise": f"{RNG.getrandbits(4000):x}"}).encode() for i in range(3000)]
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
    "": lambda data: data,
}


@pytest.mark.parametrize("ending", list(PACK))
def test_a_dump_is_cut_to_whole_lines_in_its_own_format(tmp_path: Path, ending: str) -> None:
    source, target = tmp_path / f"RS{ending}", tmp_path / f"cut{ending}"
    source.write_bytes(PACK[ending](b"\n".join(LINES) + b"\n"))
    read = cut_dump(str(source), str(target), source.stat().st_size // 3)
    with DumpReader(str(target)) as dump:
        found = list(dump)
    assert 0 < len(found) < len(LINES)
    assert found == LINES[: len(found)]
    assert source.stat().st_size // 3 <= read < source.stat().st_size
    # A line stands for its share of the bytes that were read; the reader is at most some MiB ahead of the lines.
    assert len(found) / len(LINES) == pytest.approx(read / source.stat().st_size, abs=0.4)


@pytest.mark.parametrize("gzipped", [True, False])
def test_an_archive_is_cut_between_records(tmp_path: Path, gzipped: bool) -> None:
    pages = [(f"https://example.org/{i}", html(i)) for i in range(60)]
    name = "a.warc.gz" if gzipped else "a.warc"
    source = write_warc(tmp_path / name, pages, gzip=gzipped)
    size = source.stat().st_size
    read = cut_archive(str(source), str(tmp_path / f"cut-{name}"), size // 3)
    found = [page.url for page in read_heads(str(tmp_path / f"cut-{name}"))]
    assert found == [url for url, _ in pages[: len(found)]]
    assert len(found) / 60 == pytest.approx(read / size, abs=0.03)
    assert size // 3 <= read < size // 2


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    source = write_warc(tmp_path / "a.warc.gz", [("https://example.org/", html(1))])
    source.write_bytes(source.read_bytes()[:-20])
    with pytest.raises(CorruptFile, match=r"a\.warc\.gz"):
        cut_archive(str(source), str(tmp_path / "cut"), 10**6)


def test_what_fits_whole_is_not_copied_and_files_are_taken_evenly(tmp_path: Path) -> None:
    paths = []
    for i in range(20):
        path = tmp_path / f"RS_{i:02d}"
        path.write_bytes(b"".join(b'{"id": %d}\n' % i for _ in range(100)))
        paths.append(str(path))
    everything = sample(paths, tmp_path / "none", 10**9, cut_dump)
    assert (everything.paths, everything.whole, everything.factor) == (tuple(paths), True, 1.0)
    assert not (tmp_path / "none").exists()
    some = sample(paths, tmp_path / "some", 8 * 2000, cut_dump)
    assert not some.whole
    assert [Path(path).name for path in some.paths] == [f"RS_{i:02d}" for i in (0, 2, 5, 7, 10, 12, 15, 17)]
    assert some.factor == pytest.approx(20 / 8, rel=0.01)
