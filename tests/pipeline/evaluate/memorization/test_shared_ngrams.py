from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import write_dataset

from data_prep.configfile import validate
from data_prep.ngrams import ngram_hashes
from data_prep.shards import DatasetManifest, TokenSplit
from data_prep.tokenizer import Tokenizer
from pipeline.config.evaluate_suite import LanguageModelTask
from pipeline.evaluate.memorization.contamination import GPT2_N, clean_and_dirty, gpt3_n, overlaps, texts_of
from pipeline.evaluate.memorization.ngrams import Form, NgramFinder, ngrams_of, words_of

WORDS = st.sampled_from(["a", "b", "A", "c'd", "1,5", "e.", "--", "é", "x_y"])
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("form", "words"),
    [("alphanumeric", ["don", "t", "stop", "a", "b", "3"]), ("unpunctuated", ["dont", "stop", "ab", "3"])],
)
def test_the_words_of_a_form(form: Form, words: list[str]) -> None:
    assert words_of("Don't STOP, a_b -- 3!", form) == words


@settings(max_examples=60)
@given(st.sampled_from(["alphanumeric", "unpunctuated"]), st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=4))
def test_the_finder_finds_what_stands_there(form: Form, wanted: list[str], texts: list[str]) -> None:
    asked = {n: [ngram for text in wanted for ngram in ngrams_of(text, n, form)] for n in (1, 3)}
    finder = NgramFinder(asked, form)
    for text in texts:
        finder.read(text)
    for n, ngrams in asked.items():
        there = {ngram for text in texts for ngram in ngrams_of(text, n, form)}
        assert finder.found[n] == set(ngrams) & there


@given(st.sampled_from(["alphanumeric", "unpunctuated"]), TEXTS)
def test_the_forms_are_those_of_data_preparation(form: Form, text: str) -> None:
    """Equal n-grams have equal hashes there, and others have others."""
    ours, theirs = ngrams_of(text, 2, form), ngram_hashes(text, 2, form).tolist()
    assert len(ours) == len(theirs)
    assert len(set(ours)) == len(set(theirs)) == len(set(zip(ours, theirs, strict=True)))


def test_overlap_with_a_token_dataset_by_hand(small_dataset: Path) -> None:
    manifest = DatasetManifest.load(str(small_dataset))
    split = TokenSplit(str(small_dataset), manifest, "train")
    tokenizer = Tokenizer.load(str(small_dataset / "tokenizer.json"))
    seen = next(
        text
        for i in range(split.documents)
        if len((text := tokenizer.decode(split.document(i)[:-1].tolist())).split()) >= 12
    )
    words = seen.replace(".", "").split()
    new = "one two three four five six seven eight nine ten eleven twelve"
    half = " ".join([*words[:10], *new.split()[:8]])
    found = overlaps({"known": [seen.upper()], "mixed": [new, half]}, str(small_dataset))
    assert found["known"].percent == 100.0
    assert (found["known"].dirty, found["known"].n) == ((0,), min(13, len(words)))
    mixed = found["mixed"]
    assert (mixed.ngrams, mixed.found, mixed.n) == ((12 - 7) + (18 - 7), 10 - 7, 12)
    assert mixed.dirty == ()
    assert overlaps({"mixed": [new, half]}, str(small_dataset), documents=1)["mixed"].found <= 3


def test_the_length_of_gpt3s_ngrams() -> None:
    assert gpt3_n(["a b c"] * 10) == 8
    assert gpt3_n(["w " * 100] * 10) == 13
    assert gpt3_n(["w " * 10] * 10) == 10


def test_lines_without_words_are_no_examples(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(" = a title = \n \n a line of text \n", encoding="utf-8")
    task = {
        "kind": "language-model",
        "about": {"title": "t", "licence": "l"},
        "data": {"path": "text", "format": "text"},
    }
    assert texts_of("set", validate(LanguageModelTask, task, "test"), str(tmp_path)) == [
        " = a title = ",
        " a line of text ",
    ]


def test_scores_of_clean_and_dirty_examples(tmp_path: Path) -> None:
    write_dataset(tmp_path, train=4, validation=1)
    (overlap,) = overlaps({"set": ["a b"] * 4}, str(tmp_path)).values()
    overlap = type(overlap)(**{**vars(overlap), "dirty": (0, 1)})
    rows = [{"id": i, "variant": "0-shot", "correct": i in (0, 1, 2)} for i in range(4)]
    (row,) = clean_and_dirty(overlap, rows)
    assert (row["all"]["value"], row["clean"]["value"], row["dirty"]["value"]) == (0.75, 0.5, 1.0)
    assert row["relative_change_when_clean"] == pytest.approx(-1 / 3)
    assert clean_and_dirty(overlap, [{"id": 0, "variant": ""}]) == []
    assert GPT2_N == 8
