import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.shards import (
    DatasetManifest,
    Shard,
    ShardInfo,
    SplitInfo,
    TokenSplit,
    token_dtype,
    unigram_entropy,
    write_shard,
)

U16 = np.dtype(np.uint16)


def shard_file(path: Path, documents: list[list[int]], dtype: np.dtype = U16) -> ShardInfo:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        ids = [f"d{i}" for i in range(len(documents))]
        tokens = write_shard(handle, ids, [np.array(d, dtype) for d in documents], dtype)
    return ShardInfo(path.name, store.sha256_of(str(path)), path.stat().st_size, len(documents), tokens)


def dataset(folder: Path, shards: list[list[list[int]]], dtype: str = "uint16") -> DatasetManifest:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text("{}")
    infos = tuple(shard_file(folder / f"s{i}.arrow", d, np.dtype(dtype)) for i, d in enumerate(shards))
    manifest = DatasetManifest(
        name="test",
        tokenizer_sha256=store.sha256_of(str(folder / "tokenizer.json")),
        vocab_size=100,
        eot_id=0,
        dtype=dtype,
        splits={"train": SplitInfo(infos, 5, 1)},
        lineage={"pages": "ab"},
    )
    manifest.save(str(folder))
    return manifest


THREE = [[[1, 2, 0], [3, 0]], [[4, 5, 6, 0]], [[7, 0], [8, 0]]]


def test_dtype_holds_every_id() -> None:
    assert token_dtype(65_536) == np.uint16
    assert token_dtype(65_537) == np.uint32


_DOCUMENTS = st.lists(st.lists(st.integers(0, 65_535), max_size=9), max_size=9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_DOCUMENTS, st.sampled_from(["uint16", "uint32"]))
def test_round_trip(tmp_path: Path, documents: list[list[int]], dtype: str) -> None:
    path = tmp_path / "x.arrow"
    info = shard_file(path, documents, np.dtype(dtype))
    shard = Shard.open(str(path))
    assert shard.tokens.dtype == dtype
    assert shard.tokens.tolist() == [t for d in documents for t in d]
    bounds = shard.offsets.tolist()
    assert [shard.tokens[a:b].tolist() for a, b in pairwise(bounds)] == documents
    assert shard.ids.to_pylist() == [f"d{i}" for i in range(len(documents))]
    assert info.tokens == len(shard.tokens)


def test_tokens_are_the_mapped_file_itself(tmp_path: Path) -> None:
    shard_file(tmp_path / "x.arrow", [[1, 2, 3]] * 1000)
    before = pa.total_allocated_bytes()
    shard = Shard.open(str(tmp_path / "x.arrow"))
    assert pa.total_allocated_bytes() - before < 1000
    assert not shard.tokens.flags.owndata
    assert not shard.tokens.flags.writeable
    address = shard.tokens.__array_interface__["data"][0]
    maps = Path("/proc/self/maps")
    if maps.exists():
        (line,) = [line for line in maps.read_text().splitlines() if line.endswith("x.arrow")]
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        assert start <= address
        assert address + shard.tokens.nbytes <= end


def test_other_libraries_open_a_shard_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    shard_file(path, THREE[0])
    rows = [{"tokens": [1, 2, 0], "id": "d0", "n_tokens": 3}, {"tokens": [3, 0], "id": "d1", "n_tokens": 2}]
    assert datasets.Dataset.from_file(str(path)).to_list() == rows
    with pa.memory_map(str(path)) as source:
        assert pa.ipc.open_stream(source).read_all().to_pylist() == rows


def test_a_split_is_one_stream_over_its_shards(tmp_path: Path) -> None:
    split = TokenSplit(str(tmp_path), dataset(tmp_path, [THREE[0], [], *THREE[1:]]), "train")
    stream = [t for shard in THREE for document in shard for t in document]
    assert (split.tokens, split.documents) == (13, 5)
    for start in range(13):
        for length in range(1, 14 - start):
            assert split.read(start, length).tolist() == stream[start : start + length]
    assert [split.document(i).tolist() for i in range(5)] == [d for shard in THREE for d in shard]
    assert split.read(1, 3).base is not None
    assert split.counts(10).tolist() == [5, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    for start, length in ((-1, 2), (12, 2), (3, 0), (3, -1)):
        with pytest.raises(IndexError):
            split.read(start, length)


def test_manifest_round_trip(tmp_path: Path) -> None:
    manifest = dataset(tmp_path, THREE)
    assert DatasetManifest.load(str(tmp_path)) == manifest
    manifest.verify(str(tmp_path))
    assert manifest.splits["train"].tokens == 13
    assert replace(manifest, eot_id=1).digest != manifest.digest
    with pytest.raises(UserError, match="no split 'test'; choose of \\['train'\\]"):
        TokenSplit(str(tmp_path), manifest, "test")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b'"eot_id": 0', b'"eot_id": 1', "does not match its digest"),
        (b'"format": 1', b'"format": 9', "another format version"),
        (b'"documents"', b'"docs"', "not a dataset manifest"),
        (b"{", b"[", "not valid JSON"),
    ],
)
def test_damaged_manifest(tmp_path: Path, old: bytes, new: bytes, line: str) -> None:
    dataset(tmp_path, THREE)
    path = tmp_path / "manifest.json"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(UserError, match=f"^{path}: .*{line}"):
        DatasetManifest.load(str(tmp_path))


def test_a_folder_without_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}: no token dataset here"):
        DatasetManifest.load(str(tmp_path))


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    manifest = dataset(tmp_path, THREE)
    path = tmp_path / "s1.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=f"^{path}: the shard's bytes do not match its manifest"):
        manifest.verify(str(tmp_path))


def test_a_cut_shard_is_found(tmp_path: Path) -> None:
    manifest = dataset(tmp_path, THREE)
    path = tmp_path / "s1.arrow"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptFile, match=f"^{path}: the shard has .* bytes, its manifest says"):
        manifest.verify(str(tmp_path))
    with pytest.raises(CorruptFile, match=f"^{path}: not a token shard"):
        TokenSplit(str(tmp_path), manifest, "train")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    manifest = dataset(tmp_path, THREE)
    path = tmp_path / "s2.arrow"
    path.unlink()
    for check in (lambda: manifest.verify(str(tmp_path)), lambda: TokenSplit(str(tmp_path), manifest, "train")):
        with pytest.raises(CorruptFile, match=f"^{path}: a shard of the manifest is missing"):
            check()


def test_a_shard_of_another_length_or_width_is_found(tmp_path: Path) -> None:
    manifest = dataset(tmp_path, THREE)
    shard_file(tmp_path / "s1.arrow", [[4, 0]])
    with pytest.raises(CorruptFile, match="holds 2 tokens of uint16, its manifest says 4 of uint16"):
        TokenSplit(str(tmp_path), manifest, "train")
    shard_file(tmp_path / "s1.arrow", THREE[1], np.dtype(np.uint32))
    with pytest.raises(CorruptFile, match="holds 4 tokens of uint32"):
        TokenSplit(str(tmp_path), manifest, "train")


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    manifest = dataset(tmp_path, THREE)
    path = tmp_path / "tokenizer.json"
    path.write_text("{ }")
    with pytest.raises(UserError, match=f"^{path}: this tokenizer .* did not make these shards"):
        manifest.verify(str(tmp_path))
    path.unlink()
    with pytest.raises(UserError, match=f"^{path}: the tokenizer is missing"):
        manifest.check_tokenizer(str(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_damage_never_reaches_the_reader_as_a_strange_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x.arrow"
    shard_file(path, THREE[0])
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        shard = Shard.open(str(path))
    except CorruptFile as error:
        assert str(error).startswith(f"{path}: not a token shard")
    else:
        bounds = shard.offsets
        assert bounds[0] >= 0
        assert bounds[-1] <= len(shard.tokens)
        assert (np.diff(bounds) >= 0).all()


def test_damaged_document_boundaries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    shard_file(path, THREE[0])
    content = path.read_bytes()
    for right, wrong in (([0, 3, 5], [0, 4000, 5]), ([0, 3, 5], [0, 3, 4000])):
        old, new = (np.array(bounds, np.int32).tobytes() for bounds in (right, wrong))
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
        with pytest.raises(CorruptFile, match=f"^{path}: not a token shard"):
            Shard.open(str(path))


@pytest.mark.parametrize("kind", ["two batches", "other columns"])
def test_other_arrow_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.arrow"
    table = pa.table({"tokens": pa.array([[1] * 99] * 9, pa.list_(pa.uint16())), "id": ["a"] * 9})
    table = table.rename_columns(["t", "id"]) if kind == "other columns" else table
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        for _ in range(2 if kind == "two batches" else 1):
            writer.write_table(table)
    with pytest.raises(CorruptFile, match=f"^{path}: not a token shard"):
        Shard.open(str(path))


def test_a_shard_of_two_to_the_31_tokens_is_refused(tmp_path: Path) -> None:
    huge = np.broadcast_to(np.zeros(1, np.uint16), 1 << 30)
    with (tmp_path / "x").open("wb") as handle, pytest.raises(ValueError, match="fewer than 2\\^31"):
        write_shard(handle, ["a", "b"], [huge, huge], U16)


def test_unigram_entropy() -> None:
    assert unigram_entropy(np.array([1, 1, 2, 0])) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
    assert unigram_entropy(np.array([7])) == 0.0
    assert unigram_entropy(np.ones(64, np.int64)) == pytest.approx(math.log(64))
