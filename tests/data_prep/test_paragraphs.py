from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.paragraphs import SmallestKeys, few, paragraphs


def test_paragraphs_are_lines_with_enough_words() -> None:
    found = list(paragraphs("d", "one two\n\n  three four five \nsix", 2))
    assert [(p.id, p.document, p.text, p.words) for p in found] == [
        ("d:0", "d", "one two", 2),
        ("d:2", "d", "three four five", 3),
    ]


def test_paragraphs_that_differ_in_white_space_only_have_one_key() -> None:
    a, b, c = paragraphs("d", "a  b\na b\nab", 1)
    assert a.key == b.key != c.key


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from("xyz")), max_size=40), st.integers(0, 8))
def test_the_sample_has_the_smallest_keys_in_any_order(entries: list[tuple[int, str]], size: int) -> None:
    expected = [min(e for e in entries if e[0] == key) for key in sorted({key for key, _ in entries})[:size]]
    for order in (entries, entries[::-1], sorted(entries)):
        sample: SmallestKeys[tuple[int, str]] = SmallestKeys(size)
        for key, name in order:
            sample.add(key, name, (key, name))
        assert sample.items() == expected


def test_few_draws_by_text_not_by_place() -> None:
    one = list(paragraphs("d", "\n".join(f"line {i}" for i in range(50)), 1))
    two = list(paragraphs("e", "\n".join(f"line {i}" for i in range(49, -1, -1)), 1))
    assert [p.text for _, p in few(0, "x", one, 5)] == [p.text for _, p in few(0, "x", two, 5)]
    assert [p.text for _, p in few(1, "x", one, 5)] != [p.text for _, p in few(0, "x", one, 5)]
