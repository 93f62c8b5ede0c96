"""Small plots side by side: a score with its band over training or over solved examples."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from data_prep import store

_COLUMNS = 3
_SHORT = EngFormatter(sep="")
"""Numbers as 1.25M."""


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: what is scored.
        x: where.
        y: the score there.
        low: lower end of the band there.
        high: upper end.
        chance: what needs no model, if it is known.
    """

    title: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    chance: float | None = None


def draw(panels: Sequence[Panel], path: Path, title: str, x_label: str) -> None:
    """Write the plots, at least one, as a PNG; over a logarithmic axis, linear from 0 to the first value above it."""
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        _draw(axis, panel, x_label)
    figure.suptitle(title)
    image = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(image, format="png")
    store.write_bytes(str(path), image.getvalue())


def _draw(axis: Axes, panel: Panel, x_label: str) -> None:
    above = [x for x in panel.x if x > 0]
    if len(set(panel.x)) > 1:  # before anything is plotted: margins are those of the scale
        axis.set_xscale("symlog", linthresh=min(above), linscale=0.5)
        axis.set_xticks(_spread(sorted(set(panel.x)), min(above)), minor=False)
        axis.minorticks_off()
        axis.xaxis.set_major_formatter(lambda x, _: _SHORT(float(f"{x:.3g}")))
    axis.plot(panel.x, panel.y, marker="o", markersize=3)
    axis.fill_between(panel.x, panel.low, panel.high, alpha=0.2)
    if panel.chance is not None:
        axis.axhline(panel.chance, linestyle=":", color="gray", label="chance")
        axis.legend(frameon=False, fontsize=8)
    axis.set_title(panel.title, fontsize=9)
    axis.set_xlabel(x_label, fontsize=8)


def _spread(values: Sequence[float], first: float) -> list[float]:
    """Those of sorted values that have room for a label: the last, and others not too near to one behind them."""
    places = [math.log(max(value, first / 3)) for value in values]  # 0 is half a decade before the first
    kept = [len(values) - 1]
    for number in range(len(values) - 2, -1, -1):
        if places[kept[-1]] - places[number] > 0.15 * (places[-1] - places[0]):
            kept.append(number)
    return [values[number] for number in reversed(kept)]
