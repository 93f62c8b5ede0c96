from hypothesis import given
from hypothesis import strategies as st

from pipeline.checkpoint.retention import retained

runs = st.lists(st.integers(1, 50), min_size=1, max_size=30)
"""What every checkpoint adds to what was consumed."""


def history(added: list[int]) -> dict[int, int]:
    consumed, total = {}, 0
    for number, more in enumerate(added, 1):
        total += more
        consumed[10 * number] = total
    return consumed


@given(runs, st.integers(1, 5), st.none() | st.integers(1, 100))
def test_dropping_after_every_save_leaves_what_the_whole_history_would(
    added: list[int], keep_last: int, milestone: int | None
) -> None:
    every = history(added)
    here: dict[int, int] = {}
    for step, consumed in every.items():
        here[step] = consumed
        kept = retained(here, keep_last, milestone)
        here = {step: here[step] for step in kept}
    assert set(here) == retained(every, keep_last, milestone)


@given(runs, st.integers(1, 5), st.integers(1, 100))
def test_each_multiple_keeps_the_first_checkpoint_at_or_beyond_it(
    added: list[int], keep_last: int, milestone: int
) -> None:
    every = history(added)
    multiples = range(milestone, max(every.values()) + 1, milestone)
    first = {min(step for step, consumed in every.items() if consumed >= multiple) for multiple in multiples}
    assert retained(every, keep_last, milestone) == first | set(sorted(every)[-keep_last:])


@given(runs, st.integers(1, 5))
def test_without_milestones_the_newest_are_kept(added: list[int], keep_last: int) -> None:
    every = history(added)
    assert retained(every, keep_last, None) == set(sorted(every)[-keep_last:])
