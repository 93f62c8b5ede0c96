from __future__ import annotations

from hand_scorer import hand_scorer, uniform
from hypothesis import given
from hypothesis import strategies as st
from small_model import tokenizer_bytes

from data_prep.tokenizer import Tokenizer
from pipeline.evaluate.continuation import continuation_ids, score_continuations, windows_from
from pipeline.evaluate.suite.prompts import drawn, fitting
from pipeline.model.loss import IGNORE

TOKENIZER = Tokenizer(tokenizer_bytes())


@given(st.integers(1, 12), st.integers(0, 14), st.integers(0, 5))
def test_draws_are_different_rows_and_fewer_are_the_first_of_more(rows: int, count: int, seed: int) -> None:
    found = drawn(rows, count, seed, "purpose")
    assert len(found) == len(set(found)) == min(count, rows)
    assert set(found) <= set(range(rows))
    assert found[: count // 2] == drawn(rows, count // 2, seed, "purpose")


def test_seed_and_purpose_make_the_draw() -> None:
    draws = {tuple(drawn(1000, 5, seed, purpose)) for seed in (1, 2) for purpose in ("a", "b")}
    assert len(draws) == 4


@given(st.integers(1, 60))
def test_what_is_kept_fits_and_one_more_would_not(room: int) -> None:
    shots = [f"the cat sees it {i}\n" for i in range(5)]
    kept = fitting(TOKENIZER, "now ", shots, [("a dog", " sees"), ("a", " boat and it")], room)
    assert kept == shots[: len(kept)]

    def tokens(some: list[str]) -> int:
        return max(len(TOKENIZER.encode("now " + "".join(some) + end)) for end in ("a dog sees", "a boat and it"))

    assert not kept or tokens(kept) <= room
    assert len(kept) == len(shots) or tokens(shots[: len(kept) + 1]) > room


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 9))
def test_each_token_of_a_continuation_is_scored_once(context: int, more: int, length: int) -> None:
    ids = list(range(100, 100 + context + more))
    scored: list[int] = []
    for window in windows_from(ids, context, 99, length, 0):
        assert 0 < len(window.tokens) <= length
        for before, target in zip(window.tokens, window.targets, strict=True):
            if target != IGNORE:
                assert target == before + 1
                scored.append(target)
    assert scored == ids[context:]


@given(
    st.lists(st.tuples(st.sampled_from(["the cat", "a", ""]), st.sampled_from([" sees", " sees the moon and a boat"])))
)
def test_long_and_short_continuations_come_back_in_order(texts: list[tuple[str, str]]) -> None:
    scorer = hand_scorer(uniform(1.5), length=4)
    pairs = [continuation_ids(scorer.tokenizer, context, text) for context, text in texts]
    found = list(score_continuations(scorer, pairs, "test"))
    assert [one.owner for one in found] == list(range(len(texts)))
    assert [len(one.tokens) for one in found] == [len(ids) - first for ids, first in pairs]
    assert [one.logprob for one in found] == [-1.5 * len(one.tokens) for one in found]


@given(st.sampled_from(["the cat", "a dog ", "", "it"]), st.sampled_from([" sees", "s", " the", "."]))
def test_a_continuation_begins_where_the_encodings_part(context: str, continuation: str) -> None:
    ids, first = continuation_ids(TOKENIZER, context, continuation)
    assert TOKENIZER.decode(ids) == context + continuation
    assert 0 <= first < len(ids)
    assert context.startswith(TOKENIZER.decode(ids[:first]))
