from __future__ import annotations

import random
from pathlib import Path

import datasets
import pytest
from small_corpus import complete, document, words, write_documents

from data_prep import keyed, shards, store
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef, StageManifest
from data_prep.shard_stage import ShardsStage, ShardsStageSettings, split_of
from data_prep.tokenizer import Tokenizer, train

SETTINGS = ShardsStageSettings(name="small", validation_share=0.25)
ROWS = [document(i, words(random.Random(i), 30) + " naïve <|endoftext|>") for i in range(60)]
TEXT = {row["id"]: row["text"] for row in ROWS}


def make(folder: Path, settings: ShardsStageSettings = SETTINGS, reverse: bool = False) -> StageManifest:
    """The stage's folder is folder/shards."""
    trained = folder / "tokenizer.json"
    store.write_bytes(str(trained), train(iter(TEXT.values()), 300))
    inputs = {
        "documents": write_documents(folder / "in", ROWS[:35], ROWS[35:]),
        "tokenizer": [FileRef.of(str(trained))],
    }
    return complete(ShardsStage(str(folder / "shards"), settings, inputs, {"links": "digest"}), reverse=reverse)


def test_every_document_comes_back_from_its_split_in_the_keyed_order(tmp_path: Path) -> None:
    make(tmp_path)
    folder = str(tmp_path / "shards")
    manifest = shards.DatasetManifest.load(folder)
    tokenizer = Tokenizer.load(f"{folder}/tokenizer.json")
    assert (manifest.vocab_size, manifest.eot_id, manifest.dtype) == (300, 299, "uint16")
    seen = []
    for split, info in manifest.splits.items():
        for listed in info.shards:
            shard = shards.Shard.open(f"{folder}/{listed.path}")
            ids = shard.ids.to_pylist()
            assert ids == sorted(ids, key=lambda id: keyed.key(0, "order", id))
            for i, id in enumerate(ids):
                tokens = shard.tokens[shard.offsets[i] : shard.offsets[i + 1]].tolist()
                assert tokens.count(tokenizer.eot_id) == 1 and tokens[-1] == tokenizer.eot_id
                assert tokenizer.decode(tokens[:-1]) == TEXT[id]
                assert split_of(SETTINGS, id) == split
            seen += ids
    assert sorted(seen) == sorted(TEXT)
    assert seen != sorted(TEXT)


def test_the_manifest_counts_and_keeps_the_history(tmp_path: Path) -> None:
    stage = make(tmp_path)
    manifest = shards.DatasetManifest.load(str(tmp_path / "shards"))
    for name, split in manifest.splits.items():
        texts = [text for id, text in TEXT.items() if split_of(SETTINGS, id) == name]
        assert split.documents == len(texts) == stage.summary[f"{name}_documents"]
        assert split.text_bytes == sum(len(text.encode()) for text in texts)
        assert split.words == sum(len(text.split()) for text in texts)
        assert split.tokens == stage.totals.extra[f"{name}_tokens"]
    assert manifest.lineage == {"links": "digest"}
    assert stage.summary["dataset"] == manifest.digest


def test_the_order_of_tasks_does_not_matter_and_a_second_finish_writes_the_same(tmp_path: Path) -> None:
    assert make(tmp_path / "a").digest == make(tmp_path / "b", reverse=True).digest == make(tmp_path / "a").digest


def test_the_datasets_library_opens_a_shard(tmp_path: Path) -> None:
    make(tmp_path)
    rows = datasets.Dataset.from_file(str(tmp_path / "shards/train/shard-00000.arrow"))
    tokenizer = Tokenizer.load(str(tmp_path / "tokenizer.json"))
    assert tokenizer.decode(rows[0]["tokens"][:-1]) == TEXT[rows[0]["id"]]


def test_a_document_keeps_its_split_and_the_share_is_kept() -> None:
    settings = ShardsStageSettings(name="x", validation_share=0.1)
    held_out = [i for i in range(5000) if split_of(settings, f"{i:032x}") == "validation"]
    assert 400 < len(held_out) < 600
    wider = ShardsStageSettings(name="y", validation_share=0.2)
    assert all(split_of(wider, f"{i:032x}") == "validation" for i in held_out)


@pytest.mark.parametrize(("share", "split"), [(1e-9, "validation"), (1 - 1e-9, "train")])
def test_an_empty_split_is_an_error_that_names_the_setting(tmp_path: Path, share: float, split: str) -> None:
    with pytest.raises(UserError, match=f"the {split} split is empty: 60 documents.*validation_share"):
        make(tmp_path, ShardsStageSettings(name="x", validation_share=share))


def test_changed_bytes_and_a_foreign_tokenizer_are_found(tmp_path: Path) -> None:
    make(tmp_path)
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
