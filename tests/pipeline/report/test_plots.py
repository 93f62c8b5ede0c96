import itertools
import re
from xml.etree import ElementTree

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
        Series("background", [(0, 9.1), (2_000_000, 4.1)], 0, faint=True),
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
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(pictures) == 2
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.attrib["aria-label"] == "Loss <of> runs"
        assert {"viewBox"} <= set(root.attrib)
        assert not {"width", "height"} & set(root.attrib)
        words = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("text"))
        for label in ("first $x_1$", "second", "unigram entropy 6.43", "tokens", "loss"):
            assert label in words
        assert "background" not in words
        assert not re.findall(r"(?:stroke|fill): #0102", picture)
        for variable in ("--series-1", "--series-2", "--ink", "--line"):
            assert f"var({variable})" in picture
    assert "2M" in text


def test_the_same_plot_gives_the_same_bytes() -> None:
    assert plots.svg(PLOT) == plots.svg(PLOT)
