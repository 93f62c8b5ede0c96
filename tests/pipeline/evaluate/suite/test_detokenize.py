from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.suite.detokenize import Name, Shares, detokenize, original_of

MARKS = "the cat do n't don 't 's ' <unk> N $ % ( ) , . ... @-@ @,@ @.@ 1 000 U.S. Mr. `` '' ! ; a-b 1,000 3.5 it's \""
WORDS = st.sampled_from(MARKS.split())


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("ptb", " no it was n't black monday ", "no it wasn't black monday"),
        ("ptb", " viewers ' opinions fell $ N or N % ", "viewers' opinions fell $N or N%"),
        ("ptb", " mr. <unk> of inc. 's board ", "mr. <unk> of inc.'s board"),
        ("penn", "`` I ca n't , '' said ( the ) cat .", "``I can't,'' said (the) cat."),
        ("wikitext", " 1 @,@ 000 guest @-@ starring , 2 @.@ 5 m . ", "1,000 guest-starring, 2.5 m."),
        ("wikitext", ' as " Craig " in " Teddy \'s Story " . ', 'as "Craig" in "Teddy\'s Story".'),
        ("wikitext", " = Robert <unk> = ", "= Robert <unk> ="),
        ("wikitext", " <unk> @-@ Japanese ( in the U.S. ) ; J. S. Bach", "<unk>-Japanese (in the U.S.); J. S. Bach"),
        ("wikitext", " ", " "),
    ],
)
def test_plain_text_by_hand(name: Name, line: str, text: str) -> None:
    shares = Shares()
    assert detokenize(line, name, shares) == text
    assert (shares.raw, shares.unproved) == (0, 0)
    assert original_of(text, name) == line.split()


def test_what_would_not_come_back_keeps_its_spaces() -> None:
    shares = Shares()
    # "Vol." is read as an abbreviation: "Vol" and "." would be lost.
    assert detokenize("see Vol . , p", "wikitext", shares) == "see Vol . , p"
    assert (shares.lines, shares.whole, shares.raw) == (1, 0, 0)
    assert (shares.joins, shares.joined) == (2, 0)
    # A word that the rules would cut is not one of a text that was tokenised by them: the line stays as it is.
    assert detokenize("it's the cat 's", "wikitext", shares) == "it's the cat 's"
    assert (shares.lines, shares.raw, shares.unproved) == (2, 1, 0)


@settings(max_examples=300)
@given(st.sampled_from(["ptb", "penn", "wikitext"]), st.lists(WORDS, max_size=14))
def test_the_decoder_gives_the_words_back(name: Name, words: list[str]) -> None:
    line = " ".join(words)
    shares = Shares()
    text = detokenize(line, name, shares)
    if not shares.unproved:
        assert original_of(text, name) == words
    assert shares.joined <= shares.joins
    assert shares.whole + shares.raw <= shares.lines <= 1
