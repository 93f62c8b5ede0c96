from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_texts import ENGLISH, document

from data_prep.filters.gopher_repetition import (
    GopherRepetitionSettings,
    gopher_repetition,
    ngram_shares,
    paragraphs,
    repeated_share,
)

OPEN = {
    "max_duplicate_lines": 1,
    "max_duplicate_paragraphs": 1,
    "max_duplicate_line_chars": 1,
    "max_duplicate_paragraph_chars": 1,
    "max_top_ngram_chars": [1] * 3,
    "max_duplicate_ngram_chars": [1] * 6,
}
TOKENS = st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), max_size=40)


def verdict(text: str, **settings: object) -> tuple[str, float | None] | None:
    drop = gopher_repetition(document(text), GopherRepetitionSettings.model_validate(settings))
    return drop and (drop.reason, drop.score)


def distinct(count: int, start: int = 0) -> list[str]:
    """Words of five characters, all different."""
    return [f"w{i:04d}" for i in range(start, start + count)]


def plain_shares(words: list[str]) -> dict[int, float]:
    """The definition, word by word."""
    total = sum(map(len, words))
    shares = {}
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        if not counts or max(counts.values()) < 2:
            break
        if n <= 4:
            most = max(counts.values())
            top = max((g for g in counts if counts[g] == most), key=lambda g: (sum(map(len, g)), -grams.index(g)))
            starts = [i for i, gram in enumerate(grams) if gram == top]
        else:
            starts = [i for i, gram in enumerate(grams) if gram in grams[:i]]
        covered = {i + k for i in starts for k in range(n)}
        shares[n] = sum(len(words[i]) for i in covered) / total
    return shares


@given(TOKENS)
def test_shares_are_those_of_the_definition(words: list[str]) -> None:
    assert dict(ngram_shares(words)) == pytest.approx(plain_shares(words))


@given(TOKENS)
def test_shares_are_shares(words: list[str]) -> None:
    assert all(0 <= share <= 1 for _, share in ngram_shares(words))


@given(st.text())
def test_no_text_raises(text: str) -> None:
    gopher_repetition(document(text), GopherRepetitionSettings())


def test_prose_passes() -> None:
    assert verdict(ENGLISH + " ".join(distinct(60))) is None


def test_lines_and_paragraphs() -> None:
    assert repeated_share(["a", "a", "bbb", "a"]) == (0.5, pytest.approx(2 / 6))
    assert repeated_share([]) == (0.0, 0.0)
    assert paragraphs("a\nb\n\n \nc\n") == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("text", "limit", "reason"),
    [
        ("ab\ncd\nab\nab\nef", "max_duplicate_lines", "gopher-duplicate-lines"),
        ("abcdef\nabcdef\nxy\nz\nv\nu\nt", "max_duplicate_line_chars", "gopher-duplicate-line-characters"),
        ("ab\n\nab\n\nab", "max_duplicate_paragraphs", "gopher-duplicate-paragraphs"),
        ("a b\nc\n\na b\nc\n\nx\n\ny\n\nz", "max_duplicate_paragraph_chars", "gopher-duplicate-paragraph-characters"),
    ],
)
def test_each_limit_on_lines_and_paragraphs(text: str, limit: str, reason: str) -> None:
    default = GopherRepetitionSettings.model_fields[limit].default
    found = verdict(text, **{**OPEN, limit: default})
    assert found is not None
    assert found[0] == reason
    assert found[1] is not None and found[1] > default
    assert verdict(text, **{**OPEN, limit: found[1]}) is None  # "greater than", not "at least"


@pytest.mark.parametrize(
    ("n", "limit"),
    [(2, 0.20), (3, 0.18), (4, 0.16), (5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)],
)
def test_each_value_of_table_a1(n: int, limit: float) -> None:
    """A text of 1,000 words in which an n-gram stands so often that its share is just at, or just over the limit."""
    copies = (4 if n <= 4 else 2) * 10
    gram = distinct(n)
    # All copies of the top n-gram count; of duplicate ones all but the first.
    counted = n * (copies if n <= 4 else copies - 1)
    total = round(counted / limit)
    for words_in_all, expected in ((total + 1, None), (total - 1, n)):
        filler = distinct(words_in_all - n * copies, start=1000)
        step = len(filler) // copies
        words = [w for i in range(copies) for w in (*gram, *filler[i * step : (i + 1) * step])] + filler[
            copies * step :
        ]
        only = {k: v for k, v in OPEN.items() if not k.endswith("ngram_chars")}
        top = [limit if k == n else 1 for k in (2, 3, 4)]
        duplicate = [limit if k == n else 1 for k in range(5, 11)]
        found = verdict(" ".join(words), **only, max_top_ngram_chars=top, max_duplicate_ngram_chars=duplicate)
        name = f"gopher-top-{n}-gram" if n <= 4 else f"gopher-duplicate-{n}-grams"
        assert (found and found[0]) == (expected and name)
    defaults = GopherRepetitionSettings()
    assert (*defaults.max_top_ngram_chars, *defaults.max_duplicate_ngram_chars)[n - 2] == limit


def test_overlapping_characters_count_once() -> None:
    # "a a a a": the 2-gram stands at three places that overlap, and covers the text once.
    assert dict(ngram_shares(["a"] * 4))[2] == 1.0
