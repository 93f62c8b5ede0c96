from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from data_prep.errors import UserError
from pipeline.config.features import VectorsConfig
from pipeline.features.vectors import MeanVectors, load_vectors, train_vectors, trained_path, words


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.bin"])
def test_a_word2vec_file_round_trip(name: str, tmp_path: Path) -> None:
    vectors = KeyedVectors(3)
    vectors.add_vectors(["cat", "Don't", "é"], np.array([[1, 2, 3], [4, 5, 6], [0.5, -1, 0]], np.float32))
    path = str(tmp_path / name)
    vectors.save_word2vec_format(path, binary=name.endswith(".bin"))
    mean = MeanVectors(load_vectors(path))
    found = mean.embed(["The CAT: don't!", "Don't, é", "nothing known", ""])
    np.testing.assert_allclose(found, [[1, 2, 3], [2.25, 2, 3], [0, 0, 0], [0, 0, 0]])
    assert (mean.known, mean.seen) == (3, 7)


def test_words_are_cut_at_what_is_no_letter_or_digit() -> None:
    assert words("Don't stop_here -- it’s 3.5, naïve") == ["Don't", "stop", "here", "it’s", "3", "5", "naïve"]


def test_vectors_trained_on_a_dataset_are_the_same_every_time(small_dataset: Path, tmp_path: Path) -> None:
    settings = VectorsConfig(dataset=str(small_dataset), size=16, min_count=2, epochs=20)
    paths = [str(tmp_path / name) for name in ("a.bin", "b.bin")]
    for path in paths:
        train_vectors(settings, path)
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
    vectors = load_vectors(paths[0])
    assert {"cat", "dog", "river", "moon"} <= set(vectors.key_to_index)
    # "sees" and "likes" stand between the same words, "sees" and "the" do not.
    assert vectors.similarity("sees", "likes") > vectors.similarity("sees", "the")
    other = settings.model_copy(update={"window": 3})
    assert trained_path(settings, "runs") != trained_path(other, "runs")


def test_bad_vectors_are_one_clear_line(small_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("no vectors\n")
    with pytest.raises(UserError, match="not word vectors in word2vec's text format"):
        load_vectors(str(tmp_path / "bad.txt"))
    with pytest.raises(UserError, match="no such file of word vectors"):
        load_vectors(str(tmp_path / "none.bin"))
    with pytest.raises(UserError, match="no vectors can be trained"):
        train_vectors(VectorsConfig(dataset=str(small_dataset), min_count=10**6), str(tmp_path / "out.bin"))
    assert not (tmp_path / "out.bin").exists()
