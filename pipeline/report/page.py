"""The comparison as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from pipeline.report import graph, plots, table
from pipeline.report.arithmetic import HeatMap
from pipeline.report.origins import edges
from pipeline.report.plots import Plot
from pipeline.report.runs import Comparison, RunView, is_inner
from pipeline.report.sections import Analysis, Section
from pipeline.report.style import STYLE
from pipeline.report.table import Table
from pipeline.tracking.data_runs import PREFIX
from pipeline.tracking.lineage import DIGEST_TAG

_MOST_ROWS = 20  # of a table that is shown without scrolling


def render(analysis: Analysis, now: datetime, folder: Path) -> str:
    """The page's HTML.

    Args:
        analysis: what to show.
        now: when it is made.
        folder: where the page will lie; links to run folders are relative to it.
    """
    comparison = analysis.comparison
    runs = comparison.runs
    parts: list[tuple[str, str]] = []
    for root, stages in comparison.data.items():
        parts.append(("Data", f"<p class=sub>{_text(root)}</p>{_funnel(stages, folder)}"))
    parts += [(section.title, _body(section, folder)) for section in analysis.sections]
    if runs:
        picture = f"<div class='scroll wide'>{graph.svg(runs)}</div>{_lineage_list(runs)}"
        parts.append(("Lineage", f"<p class=sub>Each run below what it was made from.</p>{picture}"))
    elif not parts:
        parts.append(("No runs", "<p>There is no run of the pipeline yet.</p>"))
    links = "".join(f"<a href='#part-{i}'>{_text(title)}</a>" for i, (title, _) in enumerate(parts))
    sections = "".join(
        f"<section id=part-{i}><h2>{_text(title)}</h2>{body}</section>" for i, (title, body) in enumerate(parts)
    )
    title = f"Experiment {comparison.experiment}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{_text(title)}</title>'
        f"<style>{STYLE}</style></head><body><main>"
        f"<header><h1>{_text(title)}</h1><p class=sub>{_count(len(runs) + len(comparison.experiments))} · "
        f"{_text(comparison.uri)} · {now:%Y-%m-%d %H:%M} UTC</p></header>"
        f"{f'<nav>{links}</nav>' if len(parts) > 1 else ''}{_headline(comparison)}{sections}</main></body></html>\n"
    )


def _count(runs: int) -> str:
    return f"{runs} run{'s' if runs != 1 else ''}"


def _body(section: Section, folder: Path) -> str:
    note = f"<p class=sub>{_text(section.note)}</p>" if section.note else ""
    wide = "".join(_plot(plot, ("wide", "narrow")) for plot in section.plots)
    small = "".join(_plot(plot, ("narrow",)) for plot in section.small)
    heat = _heat_map(section.heat_map) if section.heat_map is not None else ""
    several = len(section.tables) > 1 or (section.plots and section.tables and section.tables[0].title != section.title)
    tables = "".join(
        (f"<h3>{_text(one.title)}</h3>" if several and one.title != section.title else "") + _table(one, folder)
        for one in section.tables
    )
    return f"{note}{wide}{f'<div class=pair>{small}</div>' if small else ''}{heat}{tables}"


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _headline(comparison: Comparison) -> str:
    """The few figures that a reader wants first."""
    cards = []
    losses = [(run.metrics["val/loss"], run) for run in comparison.pretrain if "val/loss" in run.metrics]
    if losses:
        loss, best = min(losses, key=lambda item: item[0])
        entropy = best.unigram_entropy
        note = f"{best.name}" + (f"; unigram entropy {entropy:.3f}" if entropy is not None else "")
        cards.append((f"{loss:.3f}", "best validation loss, nats per token", note))
        cards.append((table.number(best.tokens), "tokens trained on", best.name))
    tests = {init: _best(comparison.finetune, init) for init in ("pretrained", "random")}
    if tests["pretrained"] is not None and tests["random"] is not None:
        gain = 100 * (tests["pretrained"] - tests["random"])
        note = f"{table.percent(tests['pretrained'])} against {table.percent(tests['random'])} test accuracy"
        cards.append((f"{gain:+.1f} points", "gain of pretraining when fine-tuned", note))
    choices = [run for run in comparison.evaluate if "choice/accuracy" in run.metrics]
    if choices:
        top = max(choices, key=lambda run: run.metrics["choice/accuracy"])
        note = f"chance {table.percent(top.metrics.get('choice/chance'))}"
        cards.append((table.percent(top.metrics["choice/accuracy"]), "choice accuracy", f"{top.name}; {note}"))
    if not cards:
        return ""
    items = "".join(
        f"<div class=card><b>{_text(figure)}</b><span>{_text(what)}</span><small>{_text(note)}</small></div>"
        for figure, what, note in cards
    )
    return f"<div class=cards>{items}</div>"


def _best(runs: Sequence[RunView], init: str) -> float | None:
    return max(
        (r.metrics["test/accuracy"] for r in runs if r.init == init and "test/accuracy" in r.metrics), default=None
    )


def _funnel(stages: Sequence[RunView], folder: Path) -> str:
    """Rows out of each stage as bars on one scale, with the reasons for what was left out."""
    stages = [run for run in stages if not is_inner(run)]
    most = max((max(run.metrics.get("rows_in", 0), run.metrics.get("rows_out", 0)) for run in stages), default=0) or 1
    rows = []
    for run in stages:
        rows_in, rows_out = run.metrics.get("rows_in", 0), run.metrics.get("rows_out", 0)
        reasons = "".join(f"<li>{_text(reason)} <b>{count:,}</b></li>" for reason, count in table.dropped(run))
        seconds = run.metrics.get("seconds")
        time = "" if seconds is None else f" · {seconds:,.1f} s"
        rows.append(
            f"<div class=stage id='run-{_text(run.run_id)}'><div class=what>"
            f"<b>{_name(run, run.stage.removeprefix(PREFIX), folder)}</b>"
            f"<span>{rows_in:,.0f} → {rows_out:,.0f} rows{time}</span></div>"
            f'<div class=bar><i style="width:{100 * rows_in / most:.2f}%"></i>'
            f'<i class=out style="width:{100 * rows_out / most:.2f}%"></i></div>'
            f"{f'<ul>{reasons}</ul>' if reasons else ''}</div>"
        )
    key = "<p class=key><i></i>read <i class=out></i>written; below, what was left out and why</p>"
    return f"<div class=funnel>{''.join(rows)}</div>{key}"


def _lineage_list(runs: Sequence[RunView]) -> str:
    """The lineage in words, for screens too narrow for the graph."""
    names = {run.run_id: run.name for run in runs}
    origins = edges(runs)
    items = []
    for run in runs:
        if is_inner(run):
            continue
        made = f" · digest {table.short(run.tags[DIGEST_TAG])}" if DIGEST_TAG in run.tags else ""
        above = ", ".join(sorted(names[origin] for origin in origins[run.run_id]))
        items.append(
            f"<li><b><a href='#run-{_text(run.run_id)}'>{_text(run.name)}</a></b>"
            f"{f' from {_text(above)}' if above else ''}"
            f"<code>run {table.short(run.run_id)}{made}</code></li>"
        )
    return f"<ul class='origins narrow'>{''.join(items)}</ul>"


def _plot(plot: Plot, kinds: Sequence[plots.Kind]) -> str:
    note = f"<p class=sub>{_text(plot.note)}</p>" if plot.note else ""
    return f"<figure><figcaption>{_text(plot.title)}</figcaption>{plots.svg(plot, kinds)}{note}</figure>"


def _heat_map(content: HeatMap) -> str:
    groups = "".join(f"<th colspan={width}>{_text(group)}</th>" for group, width in content.groups)
    names = "".join(f"<th>{_text(name)}</th>" for _, name in content.columns)
    rows = "".join(
        f"<tr><th scope=row>{_text(name)}</th>{''.join(map(_cell, cells))}</tr>"
        for name, cells in zip(content.rows, content.values, strict=True)
    )
    head = f"<thead><tr><td></td>{groups}</tr><tr><td></td>{names}</tr></thead>"
    return (
        f"<figure><figcaption>{_text(content.title)}</figcaption><div class=scroll>"
        f"<table class=heat>{head}<tbody>{rows}</tbody></table></div></figure>"
    )


def _cell(value: float | None) -> str:
    if value is None:
        return "<td>-</td>"
    return f"<td style='--share: {100 * value:.1f}%'>{100 * value:.1f}</td>"


def address(run: RunView, folder: Path) -> str:
    """Where more about a run is: its page on the MLflow server, else its folder; "" if neither is known."""
    if run.url:
        return run.url
    if not run.folder:
        return ""
    return quote(os.path.relpath(Path(run.folder).absolute(), folder.absolute())) + "/"


def _name(run: RunView, text: str, folder: Path) -> str:
    href = address(run, folder)
    return f"<a href='{_text(href)}'>{_text(text)}</a>" if href else _text(text)


def _table(content: Table, folder: Path) -> str:
    head = "".join(f"<th{_align(content, i)}>{_text(c)}</th>" for i, c in enumerate(content.columns))
    body = []
    for number, row in enumerate(content.rows):
        cells = [_text(cell) for cell in row]
        about = ""
        if content.runs:
            run = content.runs[number]
            cells[0], about = _name(run, row[0], folder), f" id='run-{_text(run.run_id)}'"
        data = "".join(f"<td{_align(content, i)}>{cell}</td>" for i, cell in enumerate(cells))
        body.append(f"<tr{about}>{data}</tr>")
    note = f"<p class=sub>{_text(content.note)}</p>" if content.note else ""
    tall = " tall" if len(body) > _MOST_ROWS else ""
    rows = "".join(body)
    return f"<div class='scroll{tall}'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}"


def _align(content: Table, column: int) -> str:
    return "" if column < content.left else " class=n"
