"""An experiment's outcome as one figure: every seed a dot, the median a line or a bar."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from pipeline.config.experiment import ExperimentConfig
from pipeline.experiments.summary import Row, Spread, figure
from pipeline.report.plots import spread

_COLOURS = ("#0063a6", "#c04a00", "#00745a", "#9b2f86", "#7a6200", "#b3263e")
_DASHES: tuple[object, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)), (0, (1, 1)))
_INK, _MUTED, _LINE = "#1d2129", "#5d6470", "#e2e1dc"
_LABEL_GAP = 0.058
_LETTER = 0.02
"""Width of a letter of a tick's label, as a share of the axis."""


def draw(experiment: ExperimentConfig, rows: Sequence[Row]) -> dict[str, bytes]:
    """`svg` and `png` of the plot: curves where there is an axis, else one line of dots an arm."""
    shown = [row for row in rows if experiment.metric in row.spreads and (row.at is not None or not experiment.axis)]
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": experiment.name, "font.size": 10}):
        height = 4.2 if experiment.axis is not None else 1.5 + 0.5 * max(1, len(shown))
        canvas_figure = Figure(figsize=(7.6, height))
        axes = canvas_figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(_MUTED)
        axes.tick_params(colors=_MUTED, labelcolor=_INK)
        axes.set_axisbelow(True)
        axes.set_title(experiment.title, loc="left", color=_INK, fontsize=11)
        if experiment.axis is not None:
            _curves(axes, experiment, shown)
            canvas_figure.subplots_adjust(left=0.1, right=0.74, top=0.91, bottom=0.14)
        else:
            _dots(axes, experiment, shown)
            longest = max((len(row.arm) for row in shown), default=0)
            canvas_figure.subplots_adjust(
                left=min(0.5, 0.05 + 0.0125 * longest), right=0.95, top=1 - 0.4 / height, bottom=0.62 / height
            )
        return _files(canvas_figure)


def _files(drawn: Figure) -> dict[str, bytes]:
    vector, pixels = io.BytesIO(), io.BytesIO()
    FigureCanvasSVG(drawn).print_svg(vector, metadata={"Date": None})  # type: ignore[no-untyped-call]
    drawn.set_dpi(150)
    FigureCanvasAgg(drawn).print_png(pixels)  # type: ignore[no-untyped-call]
    return {"svg": vector.getvalue(), "png": pixels.getvalue()}


def _curves(axes: Axes, experiment: ExperimentConfig, rows: Sequence[Row]) -> None:
    assert experiment.axis is not None
    labels = {row.at: row.label for row in rows if row.at is not None}
    ends = []
    for number, arm in enumerate(dict.fromkeys(row.arm for row in rows)):
        own = [row for row in rows if row.arm == arm]
        colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
        spreads = [row.spreads[experiment.metric] for row in own]
        xs = [row.at for row in own if row.at is not None]
        axes.fill_between(
            xs, [one.low for one in spreads], [one.high for one in spreads], color=colour, alpha=0.13, lw=0
        )
        axes.plot(xs, [one.median for one in spreads], color=colour, linewidth=2, linestyle=dash)
        for x, one in zip(xs, spreads, strict=True):
            axes.plot([x] * len(one.values), one.values, "o", color=colour, markersize=3.5)
        ends.append((f"{arm} {figure(experiment.metric, spreads[-1].median)}", spreads[-1].median, colour))
    floor = _floor(experiment, rows)
    if floor is not None:
        axes.axhline(floor, color=_INK, linewidth=1.1, linestyle=(0, (1, 2)))
        ends.append((f"{_floor_name(experiment)} {figure(experiment.metric, floor)}", floor, _INK))
    if experiment.axis.scale == "log":
        axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(labels), _thinned(labels, experiment.axis.scale))
    axes.set_xlabel(experiment.axis.name, color=_INK)
    _value_axis(axes, experiment, "y")
    low, high = axes.get_ylim()
    heights = [(y - low) / (high - low) for _, y, _ in ends]
    for (label, _, colour), height in zip(ends, spread(heights, _LABEL_GAP), strict=True):
        axes.text(1.015, height, label, color=colour, transform=axes.transAxes, va="center", clip_on=False, fontsize=9)


def _thinned(labels: Mapping[float, str], scale: str) -> list[str]:
    """Labels of the points, millions as such, without those that would be written over each other; the last stays."""
    shown = [f"{at / 1e6:.3g}M" if label == f"{at:,.0f}" and at >= 1e6 else label for at, label in labels.items()]
    places = [math.log(at) for at in labels] if scale == "log" else list(labels)
    if len(places) < 2:
        return shown
    reach = places[-1] - places[0]
    free = math.inf
    for number in reversed(range(len(places))):
        half = _LETTER * (len(shown[number]) + 1) / 2
        place = (places[number] - places[0]) / reach
        if place + half > free:
            shown[number] = ""
        else:
            free = place - half
    return shown


def _dots(axes: Axes, experiment: ExperimentConfig, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        one: Spread = row.spreads[experiment.metric]
        axes.plot(
            [one.low, one.high], [place, place], color=_COLOURS[0], linewidth=5, alpha=0.2, solid_capstyle="round"
        )
        axes.plot(one.values, [place] * len(one.values), "o", color=_COLOURS[0], markersize=4)
        axes.plot([one.median] * 2, [place - 0.17, place + 0.17], color=_COLOURS[1], linewidth=2)
        axes.annotate(
            figure(experiment.metric, one.median),
            (one.median, place),
            (0, 11),
            textcoords="offset points",
            ha="center",
            color=_COLOURS[1],
            fontsize=9,
        )
    floor = _floor(experiment, rows)
    if floor is not None:
        axes.axvline(floor, color=_INK, linewidth=1.1, linestyle=(0, (1, 2)))
        axes.annotate(
            _floor_name(experiment),
            (floor, 1),
            (4, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            color=_INK,
            fontsize=9,
        )
    axes.set_yticks(range(len(rows)), [row.arm for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.75)
    axes.margins(x=0.12)
    _value_axis(axes, experiment, "x")


def _value_axis(axes: Axes, experiment: ExperimentConfig, which: str) -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    name = experiment.metric.replace("/", " ")
    if figure(experiment.metric, 1.0) == "100.0":
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}"))
        name += ", %"
    axes.grid(axis="y" if which == "y" else "x", color=_LINE, linewidth=0.8)
    axis.set_label_text(name, color=_INK)


def _floor(experiment: ExperimentConfig, rows: Sequence[Row]) -> float | None:
    """The level to beat, where it is the same for all."""
    found = {value for row in rows for value in row.spreads.get(experiment.floor or "", Spread(())).values}
    return found.pop() if len(found) == 1 else None


def _floor_name(experiment: ExperimentConfig) -> str:
    return (experiment.floor or "").rpartition("/")[2].replace("majority", "most frequent label")
