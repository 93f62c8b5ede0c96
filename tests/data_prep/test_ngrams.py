from __future__ import annotations

import re
import string
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import ngrams
from data_prep.ngrams import Form, NgramSet, ngram_hashes, word_hashes

FORMS: tuple[Form, ...] = ("alphanumeric", "unpunctuated", "lower")
TEXTS = st.text(
    st.one_of(st.sampled_from("aAbBzZ09_ .,'\"-\t\n\u00a0\u3000\u200bß\u0130ΣςÉ日本\u0301\U0001f600"), st.characters()),
    max_size=60,
)

Word = tuple[str, int, int]


def lowered(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else "i"


def is_mark(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def words_of(text: str, form: Form) -> list[Word]:
    """The plain way: words in normal form, and where they stand."""
    found = []
    for match in re.finditer(r"[^\W_]+" if form == "alphanumeric" else r"\S+", text):
        word = "".join(lowered(c) for c in match.group() if form != "unpunctuated" or not is_mark(c))
        if word:
            found.append((re.sub("[\0\1]", "\2", word), match.start(), match.end()))
    return found


def plain_ngrams(text: str, n: int, form: Form) -> list[tuple[tuple[str, ...], int, int]]:
    words = words_of(text, form)
    groups = [words[i : i + n] for i in range(len(words) - n + 1)]
    return [(tuple(word for word, _, _ in group), group[0][1], group[-1][2]) for group in groups]


@given(TEXTS, TEXTS, st.integers(1, 4), st.sampled_from(FORMS))
def test_equal_ngrams_and_no_others_have_equal_hashes(left: str, right: str, n: int, form: Form) -> None:
    plain = [item[0] for text in (left, right) for item in plain_ngrams(text, n, form)]
    hashes = [h for text in (left, right) for h in ngram_hashes(text, n, form).tolist()]
    assert len(plain) == len(hashes)
    assert len(set(plain)) == len(set(hashes)) == len(set(zip(plain, hashes, strict=True)))


@given(TEXTS, TEXTS, st.integers(1, 4), st.sampled_from(FORMS))
def test_finds_what_the_plain_way_finds(text: str, other: str, n: int, form: Form) -> None:
    mixed = f"{text} {other} {text}"
    known = np.unique(ngram_hashes(other, n, form))
    found = NgramSet(known, n, form).find(mixed)
    wanted = {item[0] for item in plain_ngrams(other, n, form)}
    expected = [(start, end) for ngram, start, end in plain_ngrams(mixed, n, form) if ngram in wanted]
    assert list(zip(found.start.tolist(), found.end.tolist(), strict=True)) == expected
    assert set(known[found.index].tolist()) <= set(ngram_hashes(mixed, n, form).tolist())


def test_every_character_is_folded_as_it_should_be() -> None:
    for form in FORMS:
        table = ngrams.fold(form)
        for code in [*range(0x3000), *range(0xFE00, 0x10000), *range(0x10400, 0x10500), *range(0x1E900, 0x1E960)]:
            ((word, *_), *_) = words_of(f"\n{chr(code)}\n", form) or [("", 0, 0)]
            if word:
                assert chr(table[code]) == word[0], (form, hex(code))
            else:
                assert table[code] <= 1, (form, hex(code))
        assert len(table) == sys.maxunicode + 1


@pytest.mark.parametrize(
    ("form", "left", "right"),
    [
        ("alphanumeric", "It's  a <unk>, you know.", "it s a UNK you know"),
        ("unpunctuated", "It's “a” -- no, THE dog…", "its a no the dog"),
        ("lower", "It's\ta   DOG", "it's a dog"),
    ],
)
def test_normal_forms(form: Form, left: str, right: str) -> None:
    assert word_hashes(left, form).tolist() == word_hashes(right, form).tolist()
    assert word_hashes(left, form).tolist() != word_hashes(right + "s", form).tolist()


def test_hashes_never_change() -> None:
    """Files of n-grams, and the weights of a quality model, were made with them."""
    assert ngram_hashes("To be, or not to be", 3, "alphanumeric").tolist() == [
        3641802789821061797,
        15484409029808427709,
        8062085215805202879,
        7000406493635732830,
    ]
    assert word_hashes("naïve 日本", "lower").tolist() == [17623695682945135378, 4296689602275872421]


def test_texts_of_one_kind_are_hashed_alike_in_ascii_and_beyond() -> None:
    assert ngram_hashes("a b c d", 2, "lower").tolist() == ngram_hashes("a b c d é", 2, "lower").tolist()[:3]


def test_order_of_words_and_place_of_borders_count() -> None:
    (one,) = ngram_hashes("ab c", 2, "lower").tolist()
    assert one not in {ngram_hashes(text, 2, "lower").tolist()[0] for text in ("a bc", "c ab", "ab ab", "ab d")}
    assert ngram_hashes("a b", 3, "lower").tolist() == []


def test_a_set_without_ngrams_finds_nothing_and_a_text_full_of_them_all() -> None:
    empty = NgramSet(np.empty(0, np.uint64), 1, "lower")
    assert len(empty) == len(empty.find("a b c").index) == 0
    full = NgramSet(np.unique(ngram_hashes("a", 1, "lower")), 1, "lower")
    assert full.find("a " * 10_000).start.tolist() == list(range(0, 20_000, 2))


def test_looking_up_finds_each_member_and_no_neighbour() -> None:
    rng = np.random.default_rng(0)
    text = " ".join(f"w{x}" for x in rng.integers(0, 5000, 30_000))
    known = np.unique(ngram_hashes(text, 1, "lower"))
    half = NgramSet(known[::2], 1, "lower")
    found = half.find(text)
    assert set(known[::2][found.index].tolist()) == set(known[::2].tolist())
    assert len(found.index) == int(np.isin(ngram_hashes(text, 1, "lower"), known[::2]).sum())
