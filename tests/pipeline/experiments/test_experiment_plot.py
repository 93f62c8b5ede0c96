from __future__ import annotations

import pytest

from pipeline.experiments.plot import _thinned


@pytest.mark.parametrize(
    ("points", "scale", "shown"),
    [
        ([100, 300, 1000, 3000], "log", ["100", "300", "1,000", "3,000"]),
        ([-1, 0, 2, 4, 12], "linear", ["-1", "0", "2", "4", "12"]),
        ([5, 5.1, 100], "linear", ["", "5.1", "100"]),
        ([1_249_280, 7_245_824, 8_001_536], "log", ["1.25M", "", "8M"]),
        ([1000], "log", ["1,000"]),
    ],
)
def test_labels_of_an_axis_do_not_lie_on_each_other(points: list[float], scale: str, shown: list[str]) -> None:
    assert _thinned({at: f"{at:,g}" if at < 1e6 else f"{at:,.0f}" for at in points}, scale) == shown


def test_a_name_stays_as_it_is() -> None:
    assert _thinned({8e6: "all"}, "log") == ["all"]
