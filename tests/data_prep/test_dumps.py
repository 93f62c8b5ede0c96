from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import dumps
from data_prep.dumps import DumpReader, byte_ranges
from data_prep.errors import CorruptFile, UserError

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".zst": zstandard.ZstdCompressor().compress,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
TEXT = b"".join(b'{"id": "%d", "title": "%s"}\n' % (i, bytes(97 + i % 26 for _ in range(i % 97))) for i in range(9000))


def lines(path: Path) -> list[bytes]:
    with DumpReader(str(path)) as dump:
        return list(dump)


@pytest.mark.parametrize("ending", ["", *PACK])
def test_every_format_gives_the_same_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"RS_2010-01{ending}"
    path.write_bytes(PACK.get(ending, bytes)(TEXT))
    assert lines(path) == TEXT.splitlines()


@pytest.mark.parametrize("ending", list(PACK))
def test_several_frames_and_padding(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"RS{ending}"
    middle = TEXT.index(b"title", 3000)  # in the middle of a line
    padding = b"\0" * 8 if ending in (".xz", ".gz") else b""
    path.write_bytes(PACK[ending](TEXT[:middle]) + padding + PACK[ending](TEXT[middle:]) + padding)
    assert lines(path) == TEXT.splitlines()


@given(st.lists(st.binary(min_size=1).map(lambda b: b.replace(b"\n", b"")).filter(len)), st.integers(1, 40))
def test_lines_split_across_blocks(tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], block: int) -> None:
    path = tmp_path_factory.mktemp("d") / "RS"
    path.write_bytes(b"\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dumps, "_BLOCK", block)
        assert lines(path) == rows


def test_window_of_the_published_dumps(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path = tmp_path / "RS.zst"
    path.write_bytes(compressor.compress(TEXT) + compressor.flush())
    with pytest.raises(zstandard.ZstdError):  # what happens with the library's default
        zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    assert lines(path) == TEXT.splitlines()


@pytest.mark.parametrize("ending", list(PACK))
@pytest.mark.parametrize("cut", [3, 0.5, -1])
def test_cut_file_names_file_and_byte(tmp_path: Path, ending: str, cut: float) -> None:
    whole = PACK[ending](TEXT)
    path = tmp_path / f"RS{ending}"
    part = whole[: cut if isinstance(cut, int) else int(len(whole) * cut)]
    path.write_bytes(part)
    with pytest.raises(CorruptFile, match="cut short") as error:
        lines(path)
    assert str(path) in str(error.value)
    assert f"byte {len(part):,}" in str(error.value)


@pytest.mark.parametrize("ending", list(PACK))
def test_empty_file_is_cut_short(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"RS{ending}"
    path.write_bytes(b"")
    with pytest.raises(CorruptFile, match="cut short"):
        lines(path)


@pytest.mark.parametrize("ending", list(PACK))
def test_wrong_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"RS{ending}"
    path.write_bytes(TEXT)
    with pytest.raises(UserError, match=r"not a .* file"):
        lines(path)


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "RS.zst"
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match="damaged"):
        lines(path)


def test_missing_file() -> None:
    with pytest.raises(UserError, match="no such file"):
        lines(Path("nowhere/RS.zst"))


def test_endless_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "MAX_LINE", 1 << 20)
    path = tmp_path / "RS"
    path.write_bytes(b"x" * (3 << 20))
    with pytest.raises(CorruptFile, match="a line of more than"):
        lines(path)


def pieces(ending: str, sizes: list[int]) -> bytes:
    """`TEXT` in several frames, streams or members."""
    cuts = [0, *sorted(size % len(TEXT) for size in sizes), len(TEXT)]
    return b"".join(PACK.get(ending, bytes)(TEXT[a:b]) for a, b in itertools.pairwise(cuts))


def in_ranges(path: Path, task_bytes: int) -> tuple[list[bytes], int]:
    ranges = byte_ranges(str(path), path.stat().st_size, task_bytes)
    assert [start for start, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == path.stat().st_size
    found = []
    for start, end in ranges:
        with DumpReader(str(path), start, end) as dump:
            found += list(dump)
    return found, len(ranges)


@pytest.mark.parametrize(
    ("ending", "cut"), [("", True), (".zst", True), (".bz2", True), (".gz", False), (".xz", False)]
)
@given(sizes=st.lists(st.integers(0, len(TEXT)), max_size=6), task_bytes=st.integers(1, 60_000))
@settings(max_examples=15, deadline=None)
def test_every_line_once_however_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, ending: str, cut: bool, sizes: list[int], task_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("d") / f"RS{ending}"
    # Borders also where a line ends, and frames without a newline.
    line_end = TEXT.index(b"\n", len(TEXT) // 2) + 1
    path.write_bytes(pieces(ending, [*sizes, line_end, line_end + 1, line_end + 5]))
    found, ranges = in_ranges(path, max(task_bytes, path.stat().st_size // 50))
    assert found == TEXT.splitlines()
    assert cut or ranges == 1


@given(st.lists(st.binary(max_size=4).map(lambda b: b.replace(b"\n", b"")), max_size=9), st.integers(1, 12))
def test_short_lines_in_short_ranges(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], task_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("d") / "RS"
    path.write_bytes(b"\n".join(rows))
    assert in_ranges(path, task_bytes)[0] == [row for row in rows if row]


@pytest.mark.parametrize(("ending", "count"), [("", 5), (".zst", 5), (".bz2", 5), (".gz", 1), (".xz", 1)])
def test_what_can_be_cut(tmp_path: Path, ending: str, count: int) -> None:
    path = tmp_path / f"RS{ending}"
    path.write_bytes(PACK.get(ending, bytes)(TEXT) * 5)
    assert len(byte_ranges(str(path), path.stat().st_size, path.stat().st_size // 5)) == count
    assert byte_ranges(str(path), path.stat().st_size, path.stat().st_size) == [(0, path.stat().st_size)]


def test_one_frame_is_one_range(tmp_path: Path) -> None:
    path = tmp_path / "RS.zst"
    path.write_bytes(PACK[".zst"](TEXT))
    assert len(byte_ranges(str(path), path.stat().st_size, 1000)) == 1


def test_frames_of_pzstd(tmp_path: Path) -> None:
    """Before each frame a skippable one that tells its length."""
    path = tmp_path / "RS.zst"
    half = TEXT.index(b"title", len(TEXT) // 2)
    frames = [PACK[".zst"](TEXT[:half]), PACK[".zst"](TEXT[half:])]
    skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0" + len(frame).to_bytes(4, "little") for frame in frames]
    path.write_bytes(skippable[0] + frames[0] + skippable[1] + frames[1] + b"\x5e\x2a\x4d\x18\0\0\0\0")
    assert lines(path) == TEXT.splitlines()
    found, ranges = in_ranges(path, len(frames[0]) // 2)
    assert (found, ranges > 1) == (TEXT.splitlines(), True)


def test_damage_is_left_to_the_task_that_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "RS.zst"
    path.write_bytes(PACK[".zst"](TEXT) * 2 + PACK[".zst"](TEXT)[:-9])
    first, second, third = byte_ranges(str(path), path.stat().st_size, 1000)
    with DumpReader(str(path), *first) as dump:
        assert len(list(dump)) == 9000 + 1
    for damaged in (second, third):  # the last line of the second range ends in the third
        with pytest.raises(CorruptFile, match="cut short"), DumpReader(str(path), *damaged) as dump:
            list(dump)


def test_memory_does_not_follow_the_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes that expand to 64 MiB come out in blocks of the buffer's size."""
    monkeypatch.setattr(dumps, "_BLOCK", 1 << 16)
    bomb = (b"x" * 1023 + b"\n") * (64 << 10)
    for ending, pack in PACK.items():
        path = tmp_path / f"RS{ending}"
        path.write_bytes(pack(bomb))
        assert path.stat().st_size < len(bomb) // 100
        with DumpReader(str(path)) as dump:
            sizes = [len(block) for block in dump.blocks()]
        assert (sum(sizes), max(sizes) <= 1 << 16) == (len(bomb), True)


def read_all(path: Path) -> None:
    try:
        for start, end in byte_ranges(str(path), path.stat().st_size, 300):
            with DumpReader(str(path), start, end) as dump:
                for _ in dump.blocks():
                    pass
    except UserError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("ending", ["", *PACK])
@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_fuzz_any_bytes(tmp_path_factory: pytest.TempPathFactory, ending: str, data: bytes) -> None:
    path = tmp_path_factory.mktemp("f") / f"RS{ending}"
    path.write_bytes(data)
    read_all(path)


@pytest.mark.parametrize("ending", list(PACK))
@given(seed=st.integers(0, 2**32), frames=st.integers(1, 3), edits=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_fuzz_mutated_files(
    tmp_path_factory: pytest.TempPathFactory, ending: str, seed: int, frames: int, edits: int
) -> None:
    draw = random.Random(seed)
    data = bytearray(PACK[ending](TEXT[:2000]) * frames)
    for _ in range(edits):
        at = draw.randrange(len(data))
        kind = draw.randrange(4)
        if kind == 0:
            data[at] = draw.randrange(256)
        elif kind == 1:
            del data[at : at + draw.randrange(1, 40)]
        elif kind == 2:
            data[at:at] = draw.randbytes(draw.randrange(1, 40))
        else:
            data[at:at] = data[: draw.randrange(1, 40)]  # a header in the middle
        data = data or bytearray(b"\0")
    path = tmp_path_factory.mktemp("f") / f"RS{ending}"
    path.write_bytes(data)
    read_all(path)
