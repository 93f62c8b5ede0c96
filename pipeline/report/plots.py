"""Plots as inline SVG that follows the page: its fonts, its light or dark colours, a narrow or a wide screen.

matplotlib draws with marker colours; they are then replaced by the page's CSS variables (`--ink`, `--series-1` ...).
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

SERIES_COLOURS = 6
_INK, _FAINT, _GRID = "#010203", "#010204", "#010205"
_VARIABLES = {_INK: "--ink", _FAINT: "--muted", _GRID: "--line"}
_SERIES = [f"#0102{0x10 + i:02x}" for i in range(SERIES_COLOURS)]
_VARIABLES |= {colour: f"--series-{i + 1}" for i, colour in enumerate(_SERIES)}
_DASHES: list[tuple[float, ...]] = [(), (5, 2), (2, 1.5), (6, 2, 1.5, 2), (8, 3), (1, 1)]
_DOTTED = (1, 2)
_WIDE, _NARROW = (7.6, 3.7), (3.7, 3.0)
_LABEL_GAP, _MOST_LABELS = 0.062, 14
_MOST_MARKED = 30
_DECADES, _STEPS = 20, 4
"""Ratios of the largest to the smallest value above which a logarithmic axis shows powers of ten, or 1, 2 and 5."""

Kind = Literal["wide", "narrow"]


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        label: written at its end or in the legend; "" for none.
        points: (x, y), by x.
        colour: number of the line; colours and dashes repeat after 36. None draws in the colour of text.
        style: a line, one in the background, or a fitted one; the last two are thin and have no marks.
        band: (low, high) at each point.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: int | None
    style: Literal["line", "faint", "fit"] = "line"
    band: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Reference:
    """A level to compare with, drawn across."""

    label: str
    value: float


@dataclass(frozen=True)
class Plot:
    """What a plot shows.

    Attributes:
        title: above it.
        x_label: with the unit.
        y_label: with the unit.
        series: lines.
        references: levels.
        percent: y is a share, written as a percentage.
        log_x: a logarithmic axis, between 0 and 1 a linear one.
        log_y: likewise.
        ticks: place -> text, in place of numbers on the x axis.
        note: a remark below.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    references: Sequence[Reference] = ()
    percent: bool = False
    log_x: bool = False
    log_y: bool = False
    ticks: Mapping[float, str] = field(default_factory=dict)
    note: str = ""


def svg(plot: Plot, kinds: Sequence[Kind] = ("wide", "narrow")) -> str:
    """The plot as HTML: a wide and a narrow SVG, of which the page's CSS shows one, with a legend where lines have no
    labels of their own."""
    found = []
    for kind in kinds:
        own = kind == "wide" and len(_ends(plot)) <= _MOST_LABELS
        found.append(f'<div class="plot {kind}">{"" if own else _legend(plot)}{_draw(plot, kind, own)}</div>')
    return "".join(found)


def _colour(series: Series) -> str:
    return _INK if series.colour is None else _SERIES[series.colour % SERIES_COLOURS]


def _dash(series: Series) -> tuple[float, ...]:
    if series.style == "fit" or series.colour is None:
        return _DOTTED
    return _DASHES[(series.colour + series.colour // SERIES_COLOURS) % len(_DASHES)]


def _line(dash: tuple[float, ...]) -> object:
    return (0, dash) if dash else "-"


def _draw(plot: Plot, kind: Kind, labelled: bool) -> str:
    hashsalt = f"{plot!r}-{kind}"  # ids of different plots must not be the same on one page
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": hashsalt, "font.size": 10, "text.parse_math": False}):
        figure = Figure(figsize=_WIDE if kind == "wide" else _NARROW)
        canvas = FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        for line in plot.series:
            _draw_line(axes, line)
        _dress(axes, plot, kind)
        if labelled:
            _label_ends(axes, plot)
            longest = max((len(label) for label, _, _, _ in _ends(plot)), default=0)
            figure.subplots_adjust(left=0.1, right=max(0.55, 0.975 - 0.0118 * longest), top=0.96, bottom=0.15)
        else:
            left, right, bottom = (0.2, 0.93, 0.165) if kind == "narrow" else (0.1, 0.96, 0.15)
            figure.subplots_adjust(left=left, right=right, top=0.96, bottom=bottom)
            axes.yaxis.set_label_coords(-0.2 if kind == "narrow" else -0.085, 0.5)
        out = io.StringIO()
        canvas.print_svg(out)  # type: ignore[no-untyped-call]
    return _for_page(out.getvalue(), plot)


def _draw_line(axes: Axes, line: Series) -> None:
    xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
    colour = _colour(line)
    if line.band:
        axes.fill_between(
            xs, [low for low, _ in line.band], [high for _, high in line.band], color=colour, alpha=0.13, linewidth=0
        )
    if line.style == "faint":
        axes.plot(xs, ys, color=colour, linewidth=0.9, alpha=0.4)
    elif line.style == "fit":
        marker = "x" if len(xs) == 1 else None
        axes.plot(xs, ys, color=colour, linewidth=1.3, linestyle=_line(_DOTTED), marker=marker, markersize=5)
    else:
        marker = "o" if len(xs) <= _MOST_MARKED else None
        (drawn,) = axes.plot(
            xs, ys, color=colour, linewidth=2, linestyle=_line(_dash(line)), marker=marker, markersize=4
        )
        drawn.set_clip_on(False)  # the marks at the ends are whole


def _dress(axes: Axes, plot: Plot, kind: Kind) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.03 if plot.log_x or plot.ticks else 0.01)
    for reference in plot.references:
        axes.axhline(reference.value, color=_INK, linewidth=1.2, linestyle=_line(_DOTTED))
    few = 4 if kind == "narrow" else 7
    xs = [x for line in plot.series for x, _ in line.points]
    ys = [y for line in plot.series for _, y in line.points] + [one.value for one in plot.references]
    if plot.log_x:
        axes.set_xscale("log") if min(xs) > 0 else axes.set_xscale("symlog", linthresh=1)
    if plot.log_y:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(_locator(plot.log_x, xs, few))
    axes.xaxis.set_major_formatter(_powers if plot.log_x and _ratio(xs) > _DECADES else _counts)
    axes.yaxis.set_major_locator(_locator(plot.log_y, ys, 6))
    axes.yaxis.set_major_formatter(_percentage if plot.percent else _plain)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    if plot.ticks:
        places = _thinned(sorted(plot.ticks), plot, few + 2)
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: plot.ticks.get(value, ""))
    axes.tick_params(which="both", colors=_FAINT, labelcolor=_INK)
    axes.set_xlabel(plot.x_label, color=_INK)
    axes.set_ylabel(plot.y_label, color=_INK)


def _locator(log: bool, values: Sequence[float], few: int) -> LogLocator | MaxNLocator:
    if log and _ratio(values) > _DECADES:
        return LogLocator(numticks=few)
    if log and _ratio(values) > _STEPS:
        return LogLocator(subs=(1, 2, 5), numticks=few)
    return MaxNLocator(few - 1 if log else few)


def _ratio(values: Sequence[float]) -> float:
    """Largest by smallest; 1 where that says nothing."""
    return max(values) / min(values) if values and min(values) > 0 else 1.0


def _powers(value: float, _: object) -> str:
    """1e15 as 10¹⁵."""
    return "10" + str(round(math.log10(value))).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))


def _counts(value: float, _: object) -> str:
    """2,500,000 as 2.5M; more than a thousand billions as 2.5e15."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{unit}" if value < 1e15 else f"{value:g}"
    return f"{value:g}"


def _percentage(value: float, _: object) -> str:
    return f"{100 * value:.3g} %"


def _plain(value: float, _: object) -> str:
    return f"{value:.6g}" if abs(value) < 1e4 else _counts(value, _)


def _thinned(places: Sequence[float], plot: Plot, most: int) -> list[float]:
    """Places whose texts are not written over each other."""
    at = [math.log1p(place) for place in places] if plot.log_x else list(places)
    room = (at[-1] - at[0]) / most
    shown: list[float] = []
    last = -math.inf
    for place, x in zip(places, at, strict=True):
        if x - last >= room:
            shown.append(place)
            last = x
    return shown


def _ends(plot: Plot) -> list[tuple[str, float, str, tuple[float, ...]]]:
    """(label, y, colour, dash) of everything that is labelled."""
    ends = [
        (line.label, line.points[-1][1], _colour(line), _dash(line))
        for line in plot.series
        if line.points and line.label and line.style != "faint"
    ]
    return ends + [(reference.label, reference.value, _INK, _DOTTED) for reference in plot.references]


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
    axes.get_ylim()  # brings the limits up to date, on which the transformation depends
    # From the data to shares of the axis' height, also where that is logarithmic.
    to_share = (axes.transData - axes.transAxes).transform
    x = plot.series[0].points[-1][0]
    heights = [float(to_share((x, y))[1]) for _, y, _, _ in ends]
    for (label, _, colour, _), height in zip(ends, spread(heights, _LABEL_GAP), strict=True):
        axes.text(1.015, height, label, color=colour, transform=axes.transAxes, va="center", clip_on=False)


def _legend(plot: Plot) -> str:
    """Labels with a piece of their lines, for a plot that has no room for them."""
    items = []
    for label, _, colour, dash in _ends(plot):
        dashes = f' stroke-dasharray="{" ".join(f"{2 * length:g}" for length in dash)}"' if dash else ""
        line = f'<path d="M0 5h24" style="stroke: {colour}"{dashes}/>'
        items.append(f'<li><svg viewBox="0 0 24 10" aria-hidden="true">{line}</svg>{html.escape(label)}</li>')
    return _coloured(f"<ul class=legend>{''.join(items)}</ul>") if items else ""


def _coloured(text: str) -> str:
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


def _for_page(text: str, plot: Plot) -> str:
    """Strip what belongs to a file of its own, and hand colours and fonts to the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(
        r' id="(?:figure|axes|patch|text|line2d|xtick|ytick|matplotlib|PolyCollection|FillBetween)[^"]*"', "", text
    )
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    title = html.escape(plot.title, quote=True)
    return _coloured(text).replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
