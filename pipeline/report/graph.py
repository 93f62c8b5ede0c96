"""The lineage of runs as a layered graph in SVG: what was made from what."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.origins import Edges, edges
from pipeline.report.runs import RunView, is_inner
from pipeline.report.table import short
from pipeline.tracking.data_runs import PREFIX
from pipeline.tracking.lineage import DIGEST_TAG

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _PASS = 206, 46, 18, 26, 14
_SWEEPS = 8


@dataclass
class _Spot:
    """A run's box, or the place where a long edge passes through a layer."""

    run: RunView | None
    above: list[_Spot]
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> int:
        return _WIDTH if self.run is not None else _PASS


def _layers(runs: Sequence[RunView], found: Edges) -> list[list[_Spot]]:
    """Each run one layer below the lowest of its origins; edges over several layers get a spot in each between."""
    depth: dict[str, int] = {}

    def place(run_id: str) -> int:
        if run_id not in depth:
            depth[run_id] = 0  # ends the recursion should tags ever form a circle
            depth[run_id] = 1 + max((place(origin) for origin in found[run_id]), default=-1)
        return depth[run_id]

    spots = {run.run_id: _Spot(run, []) for run in runs}
    layers: list[list[_Spot]] = [[] for _ in range(1 + max(place(run.run_id) for run in runs))]
    for run in runs:
        layers[depth[run.run_id]].append(spots[run.run_id])
    for run in runs:
        for origin in sorted(found[run.run_id]):
            at = spots[origin]
            for layer in range(depth[origin] + 1, depth[run.run_id]):
                at = _Spot(None, [at])
                layers[layer].append(at)
            spots[run.run_id].above.append(at)
    return layers


def _arrange(layers: list[list[_Spot]]) -> float:
    """Order each layer by where its neighbours are, and set x and y; returns the width."""
    below: dict[int, list[_Spot]] = {}
    for layer in layers:
        for spot in layer:
            for origin in spot.above:
                below.setdefault(id(origin), []).append(spot)
    total = max(sum(s.width for s in layer) + _GAP_X * (len(layer) - 1) for layer in layers)

    def centre(layer: list[_Spot]) -> None:
        x = (total - sum(s.width for s in layer) - _GAP_X * (len(layer) - 1)) / 2
        for spot in layer:
            spot.x = x + spot.width / 2
            x += spot.width + _GAP_X

    for layer in layers:
        centre(layer)
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wish = {}
            for spot in layer:
                near = spot.above if sweep % 2 == 0 else below.get(id(spot), [])
                wish[id(spot)] = sum(o.x for o in near) / len(near) if near else spot.x
            layer.sort(key=lambda spot: wish[id(spot)])
            centre(layer)
    for i, layer in enumerate(layers):
        for spot in layer:
            spot.y = i * (_HEIGHT + _GAP_Y)
    return total


def svg(runs: Sequence[RunView]) -> str:
    """The graph, origins at the top, each run a link to where the page tells of it; empty for no runs."""
    if not runs:
        return ""
    layers = _layers([run for run in runs if not is_inner(run)], edges(runs))
    width = _arrange(layers) + 4
    height = len(layers) * (_HEIGHT + _GAP_Y) - _GAP_Y + 4
    lines, boxes = [], []
    for layer in layers:
        for spot in layer:
            for origin in spot.above:
                lines.append(_edge(origin, spot))
            if spot.run is None:
                lines.append(f'<path class="edge" d="M{spot.x:.1f} {spot.y}v{_HEIGHT}"/>')
            else:
                boxes.append(_box(spot, spot.run))
    return (
        f'<svg class="lineage" role="img" aria-label="Lineage of the runs" viewBox="-2 -2 {width:.0f} {height}" '
        f'style="width:{width:.0f}px">{"".join(lines)}{"".join(boxes)}</svg>'
    )


def _edge(origin: _Spot, spot: _Spot) -> str:
    start, end = origin.y + _HEIGHT, spot.y
    middle = (start + end) / 2
    curve = f"M{origin.x:.1f} {start}C{origin.x:.1f} {middle} {spot.x:.1f} {middle} {spot.x:.1f} {end}"
    return f'<path class="edge" d="{curve}"/>'


def _box(spot: _Spot, run: RunView) -> str:
    kind = "data" if run.stage.startswith(PREFIX) else run.stage
    digest = run.tags.get(DIGEST_TAG, "")
    left = spot.x - _WIDTH / 2
    name = run.name if len(run.name) <= 24 else f"{run.name[:23]}…"
    label = f"run {short(run.run_id)}" + (f" · digest {short(digest)}" if digest else "")
    tip = f"{run.stage}: {run.name}\nrun {run.run_id}" + (f"\ndigest {digest}" if digest else "")
    return (
        f'<a href="#run-{html.escape(run.run_id, quote=True)}">'
        f'<g class="node {html.escape(kind, quote=True)}"><title>{html.escape(tip)}</title>'
        f'<rect x="{left:.1f}" y="{spot.y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text class="name" x="{left + 10:.1f}" y="{spot.y + 19}">{html.escape(name)}</text>'
        f'<text class="id" x="{left + 10:.1f}" y="{spot.y + 36}">{html.escape(label)}</text></g></a>'
    )
