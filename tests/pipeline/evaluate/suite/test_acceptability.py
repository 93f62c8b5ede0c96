from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.statistics import matthews
from pipeline.evaluate.suite.acceptability import best_threshold

PAIRS = st.lists(st.tuples(st.sampled_from([-3.5, -2.0, -1.5, -1.0, 0.0]), st.booleans()), min_size=1, max_size=12)


@given(PAIRS)
def test_no_other_threshold_has_a_higher_correlation(pairs: list[tuple[float, bool]]) -> None:
    values, labels = zip(*pairs, strict=True)

    def correlation(threshold: float) -> float:
        return matthews(labels, [value >= threshold for value in values])

    found = best_threshold(values, labels)
    best = max(correlation(value) for value in values)
    assert abs(correlation(found) - best) < 1e-9
    assert found == min(value for value in values if correlation(value) > best - 1e-9)
