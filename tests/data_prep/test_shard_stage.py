from __future__ import annotations

import random
from pathlib import Path

import datasets
import numpy as np
import polars
import pyarrow as pa
import pytest
from small_corpus import document, make_dataset, words, write_documents

from data_prep import keyed, shard_stage, shards, store
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef, StageManifest
from data_prep.shard_stage import ShardsSettings, split_of
from data_prep.tokenizer import Tokenizer, train

SETTINGS = ShardsSettings(validation_share=0.25)
MANY = ShardsSettings(validation_share=0.25, shard_bytes=1200)
ROWS = [document(i, words(random.Random(i), 30) + " naïve <|endoftext|>") for i in range(60)]
TEXT = {row["id"]: row["text"] for row in ROWS}


def make(
    folder: Path, settings: ShardsSettings = SETTINGS, reverse: bool = False, cuts: tuple[int, ...] = (35,)
) -> tuple[StageManifest, StageManifest]:
    """The dataset is folder/shards; the documents lie in files that end at `cuts`."""
    trained = folder / "tokenizer.json"
    store.write_bytes(str(trained), train(iter(TEXT.values()), 300))
    files = [ROWS[a:b] for a, b in zip((0, *cuts), (*cuts, None), strict=True)]
    inputs = {
        "documents": write_documents(folder / "in", *files),
        "tokenizer": [FileRef.of(str(trained))],
    }
    return make_dataset(folder, inputs, settings, reverse=reverse)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("shards/*/*.arrow"))}


@pytest.mark.parametrize("settings", [SETTINGS, MANY])
def test_every_document_comes_back_from_its_split_in_the_keyed_order(tmp_path: Path, settings: ShardsSettings) -> None:
    """The order is one over all input files and all shards of a split."""
    make(tmp_path, settings)
    folder = str(tmp_path / "shards")
    manifest = shards.DatasetManifest.load(folder)
    tokenizer = Tokenizer.load(f"{folder}/tokenizer.json")
    assert (manifest.vocab_size, manifest.eot_id, manifest.dtype) == (300, 299, "uint16")
    assert len(manifest.splits["train"].shards) == 1 if settings is SETTINGS else 5
    seen = []
    for split, info in manifest.splits.items():
        ids = []
        for listed in info.shards:
            shard = shards.Shard.open(f"{folder}/{listed.path}")
            for i, id in enumerate(shard.ids.to_pylist()):
                tokens = shard.tokens[shard.offsets[i] : shard.offsets[i + 1]].tolist()
                assert tokens.count(tokenizer.eot_id) == 1 and tokens[-1] == tokenizer.eot_id
                assert tokenizer.decode(tokens[:-1]) == TEXT[id]
                assert split_of(SETTINGS, id) == split
                ids.append(id)
        assert ids == sorted(ids, key=lambda id: keyed.key(0, "order", id))
        seen += ids
    assert sorted(seen) == sorted(TEXT)
    assert seen != sorted(TEXT)


def test_the_manifest_counts_and_keeps_the_history(tmp_path: Path) -> None:
    _, stage = make(tmp_path, MANY)
    manifest = shards.DatasetManifest.load(str(tmp_path / "shards"))
    for name, split in manifest.splits.items():
        texts = [text for id, text in TEXT.items() if split_of(SETTINGS, id) == name]
        assert split.documents == len(texts) == stage.summary[f"{name}_documents"]
        assert split.text_bytes == sum(len(text.encode()) for text in texts)
        assert split.words == sum(len(text.split()) for text in texts)
        assert split.tokens == stage.totals.extra[f"{name}_tokens"]
        assert [info.path for info in split.shards] == sorted(info.path for info in split.shards)
        shards.TokenSplit(str(tmp_path / "shards"), manifest, name)  # each holds what the manifest says
    assert manifest.lineage == {"links": "digest"}
    assert stage.summary["dataset"] == manifest.digest


def test_languages_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"en": "the " * 400, "ko": "한국어 " * 30}
    rows = [{**ROWS[i], "language": [None, "en", "ko"][i % 3]} for i in range(60)]
    rows = [{**row, "text": texts.get(row["language"], "x")} for row in rows]
    monkeypatch.setattr(f"{__name__}.ROWS", rows)
    monkeypatch.setattr(f"{__name__}.TEXT", {row["id"]: row["text"] for row in rows})
    encoded, _ = make(tmp_path)
    languages = encoded.summary["languages"]
    tokenizer = Tokenizer.load(str(tmp_path / "tokenizer.json"))
    expected = {
        name: {
            "documents": 20,
            "bytes_per_token": round(len(text.encode()) / len(tokenizer.encode(text)), 3),
            "unknown": 0,
        }
        for name, text in [*texts.items(), ("und", "x")]
    }
    assert languages == expected and list(languages) == ["en", "ko", "und"]


def test_the_order_of_tasks_does_not_matter_and_a_second_finish_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_stage, "_TASK_BYTES", 1)
    digests = [
        make(tmp_path / name, MANY, reverse, cuts=(20, 40))[1].digest
        for name, reverse in (("a", False), ("b", True), ("a", False))
    ]
    assert len(set(digests)) == 1


def test_files_tasks_and_runs_have_no_part_in_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the same documents are cut into, on the way in and on the way through, changes no byte of the shards."""
    make(tmp_path / "a")
    monkeypatch.setattr(shard_stage, "_TASK_BYTES", 1)
    monkeypatch.setattr(shard_stage, "_RUN_BYTES", 1)
    monkeypatch.setattr(shard_stage, "_CHUNK", 7)
    _, stage = make(tmp_path / "b", cuts=(3, 10, 50))
    runs = [path.name for path in sorted((tmp_path / "b/encode/train").iterdir())]
    assert runs[:4] == ["run-00000-0000.arrow", "run-00001-0000.arrow", "run-00002-0000.arrow", "run-00002-0001.arrow"]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert stage.summary["train_documents"] == 60 - stage.summary["validation_documents"]


def test_the_number_of_shards_follows_from_the_bytes(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "many", MANY)
    assert list(contents(tmp_path / "one")) == [f"shards/{split}/shard-00000.arrow" for split in shards.SPLITS]
    sizes = [path.stat().st_size for path in (tmp_path / "many/shards/train").iterdir()]
    whole = sum(path.stat().st_size for path in (tmp_path / "many/encode/train").iterdir())
    assert len(sizes) == round(whole / 1200)


def test_foreign_tools_open_a_shard_as_it_is(tmp_path: Path) -> None:
    make(tmp_path)
    path = str(tmp_path / "shards/train/shard-00000.arrow")
    shard = shards.Shard.open(path)
    documents = [shard.tokens[a:b].tolist() for a, b in zip(shard.offsets[:-1], shard.offsets[1:], strict=True)]
    expected = [
        {"tokens": tokens, "id": id, "n_tokens": len(tokens)}
        for tokens, id in zip(documents, shard.ids.to_pylist(), strict=True)
    ]
    assert datasets.Dataset.from_file(path).to_list() == expected
    with pa.memory_map(path) as source:
        assert pa.ipc.open_stream(source).read_all().to_pylist() == expected
    frame = polars.read_ipc_stream(path)
    assert frame.schema["tokens"] == polars.List(polars.UInt16)
    assert frame.to_dicts() == expected


def test_a_document_keeps_its_split_and_the_share_is_kept() -> None:
    settings = ShardsSettings(validation_share=0.1)
    held_out = [i for i in range(5000) if split_of(settings, f"{i:032x}") == "validation"]
    assert 400 < len(held_out) < 600
    wider = ShardsSettings(validation_share=0.2)
    assert all(split_of(wider, f"{i:032x}") == "validation" for i in held_out)


@pytest.mark.parametrize(("share", "split"), [(1e-9, "validation"), (1 - 1e-9, "train")])
def test_an_empty_split_is_an_error_that_names_the_setting(tmp_path: Path, share: float, split: str) -> None:
    with pytest.raises(UserError, match=f"the {split} split is empty: 60 documents.*validation_share"):
        make(tmp_path, ShardsSettings(validation_share=share))
    assert not (tmp_path / "shards").exists()


def test_changed_bytes_and_a_foreign_tokenizer_are_found(tmp_path: Path) -> None:
    make(tmp_path, MANY)
    folder = tmp_path / "shards"
    manifest = shards.DatasetManifest.load(str(folder))
    manifest.verify(str(folder))
    store.write_bytes(str(folder / "tokenizer.json"), train(iter(["other text"]), 300))
    with pytest.raises(UserError, match="did not make these shards"):
        manifest.verify(str(folder))
    shard = folder / "train/shard-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"shard-00001\.arrow: the shard's bytes do not match"):
        manifest.verify(str(folder))


def test_a_wide_vocabulary_makes_wide_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "narrow", MANY)
    monkeypatch.setattr(shards, "token_dtype", lambda vocab_size: np.dtype(np.uint32))
    make(tmp_path / "wide", ShardsSettings(validation_share=0.25, shard_bytes=2000))
    streams = []
    for name in ("narrow", "wide"):
        folder = str(tmp_path / name / "shards")
        split = shards.TokenSplit(folder, shards.DatasetManifest.load(folder), "train")
        streams.append(split.read(0, split.tokens))
    assert [stream.dtype for stream in streams] == [np.uint16, np.uint32]
    assert streams[0].tolist() == streams[1].tolist()
