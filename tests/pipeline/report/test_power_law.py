import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.power_law import LEAST_POINTS, fit, frontier

GRID = [10.0**i for i in range(4, 12)]


@given(
    st.floats(0.03, 0.8),
    st.floats(1.0, 6.0),
    st.sampled_from([0.0, 1.7]),
)
def test_a_law_is_found_again(exponent: float, middle: float, floor: float) -> None:
    centre = math.sqrt(GRID[0] * GRID[-1])
    points = [(x, floor + middle * (x / centre) ** -exponent) for x in GRID]
    law = fit(points)
    assert law is not None
    assert all(law.at(x) == pytest.approx(loss, rel=1e-3) for x, loss in points)
    if not floor:
        assert law.exponent == pytest.approx(exponent, rel=0.02)


def test_the_floor_is_there_only_if_the_points_ask_for_it() -> None:
    bare = fit([(x, (1e14 / x) ** 0.05 * (1 + 0.002 * (-1) ** i)) for i, x in enumerate(GRID)])
    raised = fit([(x, 1.7 + (1e8 / x) ** 0.3) for x in GRID])
    assert bare is not None
    assert raised is not None
    assert bare.floor == 0
    assert bare.exponent == pytest.approx(0.05, abs=0.002)
    assert raised.floor == pytest.approx(1.7, abs=0.01)
    assert raised.scale == pytest.approx(1e8, rel=0.05)
    assert bare.formula("FLOPs").endswith("FLOPs / x)^0.050")


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(x, 5 / x**0.1) for x in GRID[: LEAST_POINTS - 1]],
        [(x, 5 / x**0.1) for x in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)],
        [(x, 3.0) for x in GRID],
        [(x, x**0.1) for x in GRID],
    ],
)
def test_nothing_is_fitted_to_few_points_near_each_other_or_without_a_fall(points: list[tuple[float, float]]) -> None:
    assert fit(points) is None


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0.1, 10)), max_size=30))
def test_nothing_lies_below_and_left_of_the_frontier(points: list[tuple[float, float]]) -> None:
    found = frontier(points)
    assert set(found) <= set(points)
    assert found == sorted(found)
    for x, loss in points:
        assert any(fx <= x and fl <= loss for fx, fl in found)
    assert all(a[1] > b[1] for a, b in itertools.pairwise(found))
