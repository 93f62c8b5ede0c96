"""The comparison as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import UTC, datetime

from data_prep import store
from pipeline.report import graph, plots, table
from pipeline.report.origins import edges
from pipeline.report.plots import Plot, Reference, Series
from pipeline.report.query import Comparison, RunView, is_inner
from pipeline.report.style import STYLE
from pipeline.report.table import Table
from pipeline.tracking.data_runs import PREFIX
from pipeline.tracking.lineage import DIGEST_TAG


def write(path: str, comparison: Comparison, now: datetime | None = None) -> None:
    """Write the page atomically.

    Raises:
        UserError: the disk is full.
    """
    store.write_bytes(path, render(comparison, now or datetime.now(UTC)).encode())


def render(comparison: Comparison, now: datetime) -> str:
    """The page's HTML."""
    sections = [_headline(comparison)]
    for root, stages in comparison.data.items():
        sections.append(_section("Data", f"<p class=sub>{_text(root)}</p>{_funnel(stages)}"))
    if comparison.pretrain:
        plot = pretrain_plot(comparison.pretrain)
        sections.append(_section("Pretraining", _plot(plot) + _table(table.pretrain_table(comparison.pretrain))))
    if comparison.finetune:
        pair = "".join(f"<div>{_plot(plot)}</div>" for plot in finetune_plots(comparison.finetune))
        body = f"<div class=pair>{pair}</div>{_table(table.finetune_table(comparison.finetune))}"
        sections.append(_section("Fine-tuning: pretrained against random weights", body))
    for run in comparison.experiments:
        content = table.experiment_table(run)
        sections.append(_section(content.title, _table(content)))
    if comparison.evaluate:
        sections.append(_section("Evaluation", _table(table.evaluate_table(comparison.evaluate, comparison.runs))))
    if comparison.runs:
        picture = f"<div class='scroll wide'>{graph.svg(comparison.runs)}</div>{_lineage_list(comparison.runs)}"
        sections.append(_section("Lineage", f"<p class=sub>Each run below what it was made from.</p>{picture}"))
    else:
        sections.append(_section("No runs", "<p>This experiment holds no run of the pipeline yet.</p>"))
    title = f"Experiment {comparison.experiment}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{_text(title)}</title>'
        f"<style>{STYLE}</style></head><body><main>"
        f"<header><h1>{_text(title)}</h1><p class=sub>{len(comparison.runs)} runs · {_text(comparison.uri)} · "
        f"{now:%Y-%m-%d %H:%M} UTC</p></header>{''.join(sections)}</main></body></html>\n"
    )


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


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


def _funnel(stages: Sequence[RunView]) -> str:
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
            f"<div class=stage><div class=what><b>{_text(run.stage.removeprefix(PREFIX))}</b>"
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
            f"<li><b>{_text(run.name)}</b>{f' from {_text(above)}' if above else ''}"
            f"<code>run {table.short(run.run_id)}{made}</code></li>"
        )
    return f"<ul class='origins narrow'>{''.join(items)}</ul>"


def pretrain_plot(runs: Sequence[RunView]) -> Plot:
    """Loss against tokens: validation bold, training faint, one colour a run; the unigram entropy as a level."""
    lines = []
    for i, run in enumerate(runs):
        train, val = run.curves.get("train/loss", []), run.curves.get("val/loss", [])
        if val:
            lines.append(Series(f"{run.name} {val[-1][1]:.2f}", val, i))
        if train:
            lines.append(Series(f"{run.name} train {train[-1][1]:.2f}", train, i, faint=bool(val)))
    levels = sorted({round(e, 3) for run in runs if (e := run.unigram_entropy) is not None})
    references = [Reference(f"unigram entropy {level:.2f}", level) for level in levels]
    return Plot("Loss against tokens", "tokens", "loss (nats per token)", lines, references)


def finetune_plots(runs: Sequence[RunView]) -> list[Plot]:
    """Validation accuracy and training loss against examples, those of both kinds of initial weights."""
    found = []
    floors = sorted({round(r.metrics["test/majority"], 4) for r in runs if "test/majority" in r.metrics})
    references = [Reference(f"majority class {100 * floor:.0f} %", floor) for floor in floors]
    for key, title, y_label in (
        ("val/accuracy", "Validation accuracy against examples", "validation accuracy"),
        ("train/loss", "Training loss against examples", "training loss (nats)"),
    ):
        is_share = key == "val/accuracy"
        lines = []
        for i, run in enumerate(runs):
            if curve := run.curves.get(key, []):
                end = f"{100 * curve[-1][1]:.0f} %" if is_share else f"{curve[-1][1]:.2f}"
                lines.append(Series(f"{run.init} {end}" if len(runs) <= 2 else f"{run.name} {end}", curve, i))
        if lines:
            found.append(Plot(title, "examples", y_label, lines, references if is_share else (), percent=is_share))
    return found


def _plot(plot: Plot) -> str:
    if not plot.series:
        return ""
    return f"<figure><figcaption>{_text(plot.title)}</figcaption>{plots.svg(plot)}</figure>"


def _table(content: Table) -> str:
    head = "".join(f"<th{_align(content, i)}>{_text(c)}</th>" for i, c in enumerate(content.columns))
    body = "".join(
        "<tr>" + "".join(f"<td{_align(content, i)}>{_text(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in content.rows
    )
    note = f"<p class=sub>{_text(content.note)}</p>" if content.note else ""
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"


def _align(content: Table, column: int) -> str:
    return "" if column < content.left else " class=n"
