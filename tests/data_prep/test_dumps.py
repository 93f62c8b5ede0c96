from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data_prep import dumps
from data_prep.dumps import DumpReader
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
        patch.setattr(dumps, "_READ", block)
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
