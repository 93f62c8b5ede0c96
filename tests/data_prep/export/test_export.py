"""Each format read back by a reader that knows nothing but the description of the format."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from data_prep import store
from data_prep.cli import application
from data_prep.errors import CorruptFile, UserError
from data_prep.export import FORMATS, export, modded_nanogpt, target
from data_prep.shards import DatasetManifest, ShardInfo, SplitInfo, write_shard

Documents = list[list[int]]
EOT = 9
TRAIN: list[Documents] = [[[1, 2, EOT], [EOT]], [[3, EOT]], [[4, 5, 6, EOT], [65_000, EOT]]]
VALIDATION: list[Documents] = [[[7, 8, EOT]]]


def dataset(
    folder: Path, dtype: str = "uint16", vocab_size: int = 65_536, train: list[Documents] = TRAIN
) -> DatasetManifest:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text("{}")
    splits = {}
    for name, parts in (("train", train), ("validation", VALIDATION)):
        infos = []
        for number, documents in enumerate(parts):
            path = folder / f"{name}-{number}.arrow"
            with path.open("wb") as handle:
                ids = [f"{number}-{i}" for i in range(len(documents))]
                tokens = write_shard(handle, ids, [np.array(d, dtype) for d in documents], np.dtype(dtype))
            infos.append(ShardInfo(path.name, store.sha256_of(str(path)), path.stat().st_size, len(ids), tokens))
        splits[name] = SplitInfo(tuple(infos), 1, 1)
    sha256 = store.sha256_of(str(folder / "tokenizer.json"))
    manifest = DatasetManifest("tiny", sha256, vocab_size, EOT, dtype, splits, {})
    manifest.save(str(folder))
    return manifest


def flat(parts: list[Documents]) -> list[int]:
    return [token for documents in parts for document in documents for token in document]


def read_megatron(prefix: Path) -> Documents:
    """Documents of an indexed dataset; ValueError if the index is not one, or does not fit its data."""
    index = prefix.with_suffix(".idx").read_bytes()
    data = prefix.with_suffix(".bin").read_bytes()
    if index[:9] != b"MMIDIDX\0\0":
        raise ValueError("magic")
    version, code, sequences, documents = struct.unpack_from("<QBQQ", index, 9)
    kind = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}[code]
    width = np.dtype(kind).itemsize
    at = 9 + 25
    if version != 1 or len(index) != at + sequences * 12 + documents * 8:
        raise ValueError("length")
    lengths = np.frombuffer(index, "<i4", sequences, at)
    pointers = np.frombuffer(index, "<i8", sequences, at + 4 * sequences)
    starts = np.frombuffer(index, "<i8", documents, at + 12 * sequences)
    found = []
    for first, last in pairwise(starts):
        document: list[int] = []
        for i in range(first, last):
            document += np.frombuffer(data, kind, lengths[i], pointers[i]).tolist()
        found.append(document)
    assert sum(len(document) for document in found) * width == len(data)
    return found


@pytest.mark.parametrize(("dtype", "code"), [("uint16", 8), ("uint32", 4)])
def test_megatron(tmp_path: Path, dtype: str, code: int) -> None:
    train = [[[1, 70_000, EOT]], [[2, EOT]]] if dtype == "uint32" else TRAIN
    dataset(tmp_path / "in", dtype, 100_000 if dtype == "uint32" else 60_000, train)
    files, already = export(str(tmp_path / "in"), "megatron", str(tmp_path / "out"))
    assert not already
    assert [ref.path for ref in files] == ["train.bin", "train.idx", "validation.bin", "validation.idx"]
    assert read_megatron(tmp_path / "out/train") == [document for part in train for document in part]
    assert read_megatron(tmp_path / "out/validation") == VALIDATION[0]
    assert (tmp_path / "out/train.idx").read_bytes()[17] == code


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_damaged_index_is_seen_by_its_reader(tmp_path: Path, data: st.DataObject) -> None:
    """No byte of the index is without a meaning: each change shows."""
    if not (tmp_path / "out").exists():
        dataset(tmp_path / "in")
        export(str(tmp_path / "in"), "megatron", str(tmp_path / "out"))
    path = tmp_path / "out/train.idx"
    good = path.read_bytes()
    content = bytearray(good)
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = read_megatron(tmp_path / "out/train")
    except (AssertionError, KeyError, MemoryError, OverflowError, ValueError, IndexError, struct.error):
        found = []
    path.write_bytes(good)
    assert found != [document for part in TRAIN for document in part]


def test_nanogpt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_PIECE", 2)
    dataset(tmp_path / "in")
    files, _ = export(str(tmp_path / "in"), "nanogpt", str(tmp_path / "out"))
    assert [ref.path for ref in files] == ["train.bin", "val.bin"]
    for name, parts in (("train", TRAIN), ("val", VALIDATION)):
        assert np.memmap(tmp_path / "out" / f"{name}.bin", dtype="<u2", mode="r").tolist() == flat(parts)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10, 11, 12, 100])
def test_modded_nanogpt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(modded_nanogpt, "FILE_TOKENS", size)
    monkeypatch.setattr(target, "_PIECE", 3)
    dataset(tmp_path / "in")
    export(str(tmp_path / "in"), "modded-nanogpt", str(tmp_path / "out"))
    for name, first, parts in (("train", 1, TRAIN), ("val", 0, VALIDATION)):
        stream: list[int] = []
        paths = sorted((tmp_path / "out").glob(f"tiny_{name}_*.bin"))
        assert paths[0].name == f"tiny_{name}_{first:06d}.bin"
        for path in paths:
            content = path.read_bytes()
            header = np.frombuffer(content, "<i4", 256)
            tokens = np.frombuffer(content, "<u2", offset=1024)
            assert header[:3].tolist() == [20240520, 1, len(tokens)]
            assert not header[3:].any()
            assert len(tokens) == size or path == paths[-1]
            stream += tokens.tolist()
        documents = [document for part in parts for document in part]
        assert stream == [token for document in documents for token in [EOT, *document[:-1]]]


@pytest.mark.parametrize("format", ["nanogpt", "modded-nanogpt"])
def test_ids_that_do_not_fit_are_refused(tmp_path: Path, format: str) -> None:
    dataset(tmp_path / "in", "uint32", 65_537)
    with pytest.raises(UserError, match=rf"65,537 ids does not fit into the 16 bits of {format}.*megatron"):
        export(str(tmp_path / "in"), format, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", list(FORMATS))
def test_an_export_that_was_cut_short_is_made_anew(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset(tmp_path / "in")
    files, _ = export(str(tmp_path / "in"), format, str(tmp_path / "whole"))

    def stop(self: target.Target, tokens: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target.Target, "pieces", stop)
        with pytest.raises(KeyboardInterrupt):
            export(str(tmp_path / "in"), format, str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["export.json"]
    (tmp_path / "out" / f"{files[0].path}.tmp").write_text("left by a kill")
    assert export(str(tmp_path / "in"), format, str(tmp_path / "out")) == (files, False)
    assert not list((tmp_path / "out").glob("*.tmp"))
    assert export(str(tmp_path / "in"), format, str(tmp_path / "out")) == (files, True)
    last = tmp_path / "out" / files[-1].path
    content = last.read_bytes()
    last.write_bytes(b"x" + content[1:])
    assert export(str(tmp_path / "in"), format, str(tmp_path / "out")) == (files, False)
    assert last.read_bytes() == content


def test_what_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    dataset(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="the folder is not empty"):
        export(str(tmp_path / "in"), "nanogpt", str(tmp_path / "out"))
    export(str(tmp_path / "in"), "nanogpt", str(tmp_path / "second"))
    with pytest.raises(UserError, match=r"holds another export \(nanogpt"):
        export(str(tmp_path / "in"), "megatron", str(tmp_path / "second"))
    (tmp_path / "second/export.json").write_text("[]")
    with pytest.raises(CorruptFile, match="not the record of an export"):
        export(str(tmp_path / "in"), "nanogpt", str(tmp_path / "second"))


def test_a_damaged_dataset_is_not_exported(tmp_path: Path) -> None:
    dataset(tmp_path / "in")
    shard = tmp_path / "in/train-1.arrow"
    content = bytearray(shard.read_bytes())
    content[-20] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"train-1\.arrow: the shard's bytes do not match"):
        export(str(tmp_path / "in"), "nanogpt", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_onto_an_object_store(tmp_path: Path) -> None:
    dataset(tmp_path / "in")
    files, _ = export(str(tmp_path / "in"), "nanogpt", "memory://exports/tiny")
    assert np.frombuffer(store.read_bytes("memory://exports/tiny/train.bin"), "<u2").tolist() == flat(TRAIN)
    assert export(str(tmp_path / "in"), "nanogpt", "memory://exports/tiny") == (files, True)


def test_the_command(tmp_path: Path) -> None:
    dataset(tmp_path / "in")
    arguments = ["export", str(tmp_path / "in"), "--format", "megatron", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(application(), arguments)
    assert result.exit_code == 0
    assert "train.idx" in result.output
    assert json.loads((tmp_path / "out/export.json").read_text())["format"] == "megatron"
    assert "complete, verified" in CliRunner().invoke(application(), arguments).output
    wrong = CliRunner().invoke(application(), ["export", str(tmp_path), "--format", "nanogpt", "--output", "x"])
    assert wrong.exit_code == 2
    assert "no token dataset here" in wrong.stderr
