from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest

from data_prep.corpus import Corpus
from data_prep.errors import UserError


def test_a_config_and_its_root_show_the_same_stages(finished_config: Path) -> None:
    by_config, by_root = Corpus.open(str(finished_config)), Corpus.open(str(finished_config.parent / "root"))
    assert [view.name for view in by_config.stages] == [view.name for view in by_root.stages]
    assert by_config.waiting == ()
    assert by_config.name == "small"
    documents = [view.name for view in by_root.document_stages()]
    assert documents == ["pages", "filter", "exact-dedup", "near-dedup"]


def test_any_fsspec_url_is_a_root(finished_config: Path) -> None:
    root = finished_config.parent / "root"
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/corpus-test", recursive=True)
    try:
        view = Corpus.open("memory://corpus-test").complete("filter")
        assert view.documents
        assert view.documents[0].path.startswith("memory://corpus-test/filter/part-")
    finally:
        memory.rm("/corpus-test", recursive=True)


def test_bad_targets_are_named(finished_config: Path, tmp_path: Path) -> None:
    root = str(finished_config.parent / "root")
    with pytest.raises(UserError, match="no stage has begun here; give a config, or the folder"):
        Corpus.open(str(tmp_path))
    with pytest.raises(UserError, match="no such config or folder"):
        Corpus.open(str(tmp_path / "none"))
    with pytest.raises(UserError, match="no such config file"):
        Corpus.open(str(tmp_path / "none.yaml"))
    with pytest.raises(UserError, match="settings can be changed of a config"):
        Corpus.open(root, ["partitions=4"])
    corpus = Corpus.open(root)
    with pytest.raises(UserError, match="unknown stage 'filtre'; did you mean filter"):
        corpus.stage("filtre")


def test_a_stage_that_is_not_there_yet_is_told_from_one_that_does_not_exist(
    finished_config: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished_config.parent / "root", root)
    (root / "near-dedup" / "stage.json").unlink()
    shutil.rmtree(root / "shards")
    corpus = Corpus.open(str(root))
    assert "shards" in corpus.waiting
    with pytest.raises(UserError, match="the stage shards has not begun"):
        corpus.stage("shards")
    with pytest.raises(UserError, match="the stage near-dedup is not complete"):
        corpus.complete("near-dedup")
    assert corpus.document_stages()[-1].name == "exact-dedup"


def test_files_of_a_moved_corpus_are_found(finished_config: Path, tmp_path: Path) -> None:
    root = tmp_path / "moved"
    shutil.copytree(finished_config.parent / "root", root)
    corpus = Corpus.open(str(root))
    assert corpus.here("/gone/root/filter/part-00000.parquet", ["filter"]) == f"{root}/filter/part-00000.parquet"
    assert corpus.here("/gone/root/filter/part-99999.parquet", ["filter"]) is None
    assert corpus.here("/gone/root/filter/part-00000.parquet", ["pages"]) is None
