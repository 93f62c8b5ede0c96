from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from pipeline.evaluate import panels
from pipeline.evaluate.panels import Panel, draw


def test_zero_and_one_solved_example_stand_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(panels, "Figure", lambda **options: figures.append(Figure(**options)) or figures[-1])
    y = [0.2, 0.4, 0.3]
    draw([Panel("task", [0, 1, 100], y, y, y), Panel("alone", [5], y[:1], y[:1], y[:1])], tmp_path / "p.png", "t", "x")
    axis, _, *_ = figures[0].axes
    left, middle, right = (axis.transData.transform((x, 0.3))[0] for x in (0, 1, 100))
    assert middle - left > 0.1 * (right - left)
    assert list(axis.get_xticks()) == [0, 1, 100]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@given(st.lists(st.integers(0, 10**7), min_size=2, unique=True).map(sorted))
def test_labels_have_room_and_the_last_has_one(values: list[int]) -> None:
    kept = panels._spread(values, next(value for value in values if value > 0))
    assert kept[-1] == values[-1]
    assert kept == sorted(set(kept)) and set(kept) <= set(values)
    assert 1 <= len(kept) <= 7
