from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from data_prep import keyed


@given(st.integers(), st.text(), st.text())
def test_a_draw_is_in_the_unit_interval_and_repeatable(seed: int, purpose: str, id: str) -> None:
    value = keyed.draw(seed, purpose, id)
    assert 0.0 <= value < 1.0
    assert value == keyed.draw(seed, purpose, id)


def test_draws_are_uniform_and_independent_of_each_other() -> None:
    n = 20_000
    a = [keyed.draw(0, "split", str(i)) for i in range(n)]
    b = [keyed.draw(0, "order", str(i)) for i in range(n)]
    c = [keyed.draw(1, "split", str(i)) for i in range(n)]
    for values in (a, b, c):
        for tenth in range(10):
            # 10 % of 20,000 has a standard deviation of 42.
            assert abs(sum(tenth <= 10 * x < tenth + 1 for x in values) - n / 10) < 210
    for other in (b, c):
        correlation = sum((x - 0.5) * (y - 0.5) for x, y in zip(a, other, strict=True)) / n * 12
        assert abs(correlation) < 0.04


def test_the_keys_are_fixed_for_ever() -> None:
    """Another value would deal every document of every corpus to another split."""
    assert keyed.key(0, "split", "a") == 5235686803288004515
    assert keyed.key(1, "1", "") != keyed.key(11, "", "")
