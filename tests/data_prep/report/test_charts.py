from __future__ import annotations

import pytest

from data_prep.report.charts import Column, Tick, columns, decade_ticks, percent, rows, short, table


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (7, "7"), (999, "999"), (1000, "1k"), (1234, "1.23k"), (999_999, "1M"), (45e6, "45M"), (2.5, "2.5")],
)
def test_short_numbers(number: float, shown: str) -> None:
    assert short(number) == shown


def test_shares() -> None:
    assert (percent(1, 8), percent(0, 8), percent(1, 10**6), percent(1, 0)) == ("12.5 %", "0.0 %", "< 0.1 %", "")


def test_columns_are_scaled_to_the_highest_and_escaped() -> None:
    found = columns("A <b>", "x", "pages", [Column(5, 'five "'), Column(10, "ten")], [Tick(1, "1"), Tick(2, "2")])
    assert 'style="height:50.00%" title="five &quot;"' in found
    assert 'style="height:100.00%"' in found
    assert "A &lt;b&gt;" in found
    assert "10 pages" in found
    assert '<span style="left:50.00%">1</span>' in found
    assert "none" in columns("A", "x", "pages", [], [])


def test_ticks_lie_at_powers_of_ten() -> None:
    ticks = [(tick.at, tick.label) for tick in decade_ticks(10, 1000, 10)]
    assert ticks[::3] == [(0.0, "10"), (10.0, "100"), (20.0, "1k")]
    assert [tick.label for tick in decade_ticks(1, 10**6, 10)] == ["1", "10", "100", "1k", "10k", "100k", "1M"]


def test_rows_and_tables_are_escaped() -> None:
    assert "&lt;script&gt;" in rows([("<script>", 1.0, "1")])
    assert "&lt;script&gt;" in table(["<script>"], [["x"]])
