"""Line plots as inline SVG that follows the page: its fonts, its light or dark colours, a narrow or a wide screen.

matplotlib draws with marker colours; they are then replaced by the page's CSS variables (`--ink`, `--series-1` ...).
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from pipeline.report.query import Curve

SERIES_COLOURS = 6
_INK, _FAINT, _GRID = "#010203", "#010204", "#010205"
_VARIABLES = {_INK: "--ink", _FAINT: "--muted", _GRID: "--line"}
_SERIES = [f"#0102{0x10 + i:02x}" for i in range(SERIES_COLOURS)]
_VARIABLES |= {colour: f"--series-{i + 1}" for i, colour in enumerate(_SERIES)}
_DASHES: list[object] = ["-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)), (0, (1, 1))]
_WIDE, _NARROW = (7.6, 3.7), (3.7, 3.3)
_LABEL_GAP = 0.062


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        label: written at its end.
        points: (x, y).
        colour: index of the page's series colours.
        faint: a thin line in the background, without label or marks.
    """

    label: str
    points: Curve
    colour: int
    faint: bool = False


@dataclass(frozen=True)
class Reference:
    """A level to compare with, drawn across."""

    label: str
    value: float


@dataclass(frozen=True)
class Plot:
    """What a plot shows. `percent` writes y as a percentage."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    references: Sequence[Reference] = ()
    percent: bool = False


def svg(plot: Plot) -> str:
    """The plot as HTML: a wide and a narrow SVG, of which the page's CSS shows one."""
    return "".join(f'<div class="plot {kind}">{_draw(plot, kind)}</div>' for kind in ("wide", "narrow"))


def _draw(plot: Plot, kind: str) -> str:
    hashsalt = f"{plot.title}-{kind}"
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": hashsalt, "font.size": 10, "text.parse_math": False}):
        figure = Figure(figsize=_WIDE if kind == "wide" else _NARROW)
        canvas = FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        for line in plot.series:
            xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
            colour = _SERIES[line.colour % SERIES_COLOURS]
            if line.faint:
                axes.plot(xs, ys, color=colour, linewidth=0.9, alpha=0.4)
            else:
                marker = "o" if len(xs) <= 30 else None
                dash = _DASHES[line.colour % SERIES_COLOURS]
                axes.plot(xs, ys, color=colour, linewidth=2, linestyle=dash, marker=marker, markersize=4)
        _dress(axes, plot, kind)
        if kind == "wide":
            _label_ends(axes, plot)
            longest = max((len(label) for label, _, _ in _ends(plot)), default=0)
            figure.subplots_adjust(left=0.1, right=max(0.55, 0.975 - 0.0118 * longest), top=0.96, bottom=0.15)
        else:
            lines = _legend(axes, plot)
            figure.subplots_adjust(left=0.17, right=0.96, top=0.97 - 0.062 * lines, bottom=0.145)
        out = io.StringIO()
        canvas.print_svg(out)  # type: ignore[no-untyped-call]
    return _for_page(out.getvalue(), plot)


def _dress(axes: Axes, plot: Plot, kind: str) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)
    axes.tick_params(colors=_FAINT, labelcolor=_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(4 if kind == "narrow" else 7))
    axes.xaxis.set_major_formatter(EngFormatter(sep="", places=None))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    if plot.percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel(plot.x_label, color=_INK)
    axes.set_ylabel(plot.y_label, color=_INK)
    for reference in plot.references:
        axes.axhline(reference.value, color=_INK, linewidth=1.2, linestyle=(0, (1, 2)))
    axes.margins(x=0.01)


def _ends(plot: Plot) -> list[tuple[str, float, str]]:
    """(label, y, colour) of everything that is labelled."""
    ends = [
        (line.label, line.points[-1][1], _SERIES[line.colour % SERIES_COLOURS])
        for line in plot.series
        if line.points and not line.faint
    ]
    return ends + [(reference.label, reference.value, _INK) for reference in plot.references]


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions moved as little as needed for neighbours to be at least `gap` apart; the order stays."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    # Blocks of touching labels, each centred on the mean of what its members want.
    blocks: list[list[int]] = []
    centres: list[float] = []
    for i in order:
        blocks.append([i])
        centres.append(positions[i])
        while len(blocks) > 1 and centres[-1] - centres[-2] < gap * (len(blocks[-1]) + len(blocks[-2])) / 2:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
            centres[-2:] = [sum(positions[j] for j in blocks[-1]) / len(blocks[-1])]
    result = [0.0] * len(positions)
    for block, centre in zip(blocks, centres, strict=True):
        for k, i in enumerate(block):
            result[i] = centre + gap * (k - (len(block) - 1) / 2)
    return result


def _label_ends(axes: Axes, plot: Plot) -> None:
    ends = _ends(plot)
    low, high = axes.get_ylim()
    heights = [(y - low) / (high - low) for _, y, _ in ends]
    for (label, _, colour), height in zip(ends, spread(heights, _LABEL_GAP), strict=True):
        axes.text(1.015, height, label, color=colour, transform=axes.transAxes, va="center", clip_on=False)


def _legend(axes: Axes, plot: Plot) -> int:
    """Labels above a narrow plot, one a line; returns their number."""
    ends = _ends(plot)
    for k, (label, _, colour) in enumerate(reversed(ends)):
        axes.annotate(
            f"{'··' if colour == _INK else '●'} {label}",
            (0, 1),
            (0, 8 + 14 * k),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colour,
            fontsize=9.5,
        )
    return len(ends)


def _for_page(text: str, plot: Plot) -> str:
    """Strip what belongs to a file of its own, and hand colours and fonts to the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r' id="(?:figure|axes|patch|text|line2d|xtick|ytick|matplotlib)[^"]*"', "", text)
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    title = html.escape(plot.title, quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
