import dataclasses
import itertools
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report import plots
from pipeline.report.plots import Plot, Reference, Series

PLOT = Plot(
    "Loss <of> runs",
    "tokens",
    "loss",
    [
        Series("first $x_1$", [(0, 9.0), (2_000_000, 4.0)], 0),
        Series("background", [(0, 9.1), (2_000_000, 4.1)], 0, "faint", band=[(9, 9.2), (4, 4.2)]),
        Series("second", [(0, 8.0), (2_000_000, 3.98)], 1),
    ],
    [Reference("unigram entropy 6.43", 6.43)],
)


@given(st.lists(st.floats(-5, 5), max_size=8), st.floats(0.01, 1))
def test_spread_labels_keep_their_order_and_distance(wanted: list[float], gap: float) -> None:
    found = plots.spread(wanted, gap)
    pairs = sorted(zip(wanted, found, strict=True), key=lambda pair: pair[1])
    assert [w for w, _ in pairs] == sorted(wanted)
    assert all(b - a >= gap - 1e-9 for (_, a), (_, b) in itertools.pairwise(pairs))
    if all(abs(a - b) > 10 * gap for i, a in enumerate(wanted) for b in wanted[:i]):
        assert found == wanted


def test_both_sizes_are_drawn_with_labels_at_the_lines_and_colours_of_the_page() -> None:
    text = plots.svg(PLOT)
    pictures = re.findall(r"<svg role.*?</svg>", text, flags=re.S)
    assert len(pictures) == 2
    (legend,) = re.findall(r"<ul class=legend>.*?</ul>", text, flags=re.S)
    assert re.findall(r"</svg>(.*?)</li>", legend) == ["first $x_1$", "second", "unigram entropy 6.43"]
    for picture, labels in zip(pictures, (("first $x_1$", "second", "unigram entropy 6.43"), ()), strict=True):
        root = ElementTree.fromstring(picture)
        assert root.attrib["aria-label"] == "Loss <of> runs"
        assert {"viewBox"} <= set(root.attrib)
        assert not {"width", "height"} & set(root.attrib)
        words = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("text"))
        for label in (*labels, "tokens", "loss"):
            assert label in words
        assert "background" not in words
        assert not re.findall(r"(?:stroke|fill): #0102", picture)
        for variable in ("--series-1", "--series-2", "--ink", "--line"):
            assert f"var({variable})" in picture
    assert "2M" in text


def test_the_same_plot_gives_the_same_bytes() -> None:
    assert plots.svg(PLOT) == plots.svg(PLOT)


def test_ids_of_different_plots_on_one_page_differ() -> None:
    other = dataclasses.replace(PLOT, y_label="other")
    one, two = (set(re.findall(r' id="([^"]+)"', plots.svg(plot))) for plot in (PLOT, other))
    assert one
    assert not one & two


@pytest.mark.parametrize(
    ("xs", "ticks"),
    [
        ([1e8, 1e11], ["10⁸", "10⁹", "10¹⁰", "10¹¹"]),
        ([2e4, 1.2e5], ["20K", "50K", "100K"]),
        ([2e4, 6e4], ["30K", "45K", "60K"]),
        ([0.0, 1.0, 16.0], ["0", "1", "16"]),
    ],
)
def test_logarithmic_axes_have_powers_or_counts_or_given_places(xs: list[float], ticks: list[str]) -> None:
    places = {x: f"{x:g}" for x in xs} if xs[0] == 0 else {}
    plot = Plot("P", "x", "y", [Series("a", [(x, 0.5) for x in xs], 0)], percent=True, log_x=True, ticks=places)
    root = ElementTree.fromstring(re.findall(r"<svg role.*?</svg>", plots.svg(plot, ("narrow",)), flags=re.S)[0])
    words = ["".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("text")]
    assert [word for word in words if word in ticks] == ticks
    assert "50 %" in words


def test_many_lines_have_a_legend_with_a_colour_and_dash_for_each() -> None:
    plot = Plot("P", "x", "y", [Series(f"run {i}", [(0, i), (1, i)], i) for i in range(20)])
    assert plots.svg(plot, ("wide",)).count("<li>") == 20
    drawn = re.findall(r"<path d=\"M0 5h24\" (.*?)/>", plots.svg(plot, ("wide",)))
    assert len(set(drawn)) == 20
