"""What the commands that look at a corpus print: plan, status, inspect, card, report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from data_prep import card as cards
from data_prep import configfile, store
from data_prep import inspect as inspection
from data_prep import plan as planning
from data_prep import status as progress
from data_prep.config import DataConfig
from data_prep.corpus import Corpus, StageView
from data_prep.dedup.bands import curve
from data_prep.errors import UserError
from data_prep.excerpt import excerpt, printable
from data_prep.progress import clock
from data_prep.report import build
from data_prep.report.charts import percent, short
from data_prep.report.page import size
from data_prep.side_by_side import side_by_side

_WATCH_SECONDS = 2.0
_EXCERPT = 500


def _console() -> Console:
    # Text of the web is never markup.
    return Console(markup=False, highlight=False, emoji=False)


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def status(target: str, overrides: Sequence[str], watch: bool, as_json: bool) -> None:
    """Show how far a corpus is, once or until it is complete.

    Raises:
        UserError: there is nothing to look at.
    """
    found = progress.status(Corpus.open(target, overrides))
    if as_json or not (watch and sys.stdout.isatty()):
        while True:
            if as_json:
                _print_json(found.as_json())
            else:
                _console().print(progress.render(found))
            if not watch or found.complete:
                return
            time.sleep(_WATCH_SECONDS)
            found = progress.status(Corpus.open(target, overrides))
    with Live(progress.render(found), console=_console(), auto_refresh=False) as live:
        while not found.complete:
            time.sleep(_WATCH_SECONDS)
            found = progress.status(Corpus.open(target, overrides))
            live.update(progress.render(found), refresh=True)


def plan(config: str, overrides: Sequence[str], sample: str, workers: int, as_json: bool) -> None:
    """Measure a sample and print what the corpus will take.

    Raises:
        UserError: a bad size, or what `data_prep.plan.plan` raises.
    """
    size_of_sample = configfile.parse_count(sample)
    if not isinstance(size_of_sample, int) or size_of_sample < 1:
        raise UserError(f"not a number of bytes: {sample!r}", where="--sample", fix="write for example 64MiB")
    settings = configfile.load(config, DataConfig, overrides)
    found = planning.plan(settings, size_of_sample, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    if as_json:
        _print_json(found.as_json())
        return
    console = _console()
    table = Table(title=f"Plan of {found.name}, estimated (~) from a sample", title_justify="left")
    for heading in ("stage", "tasks", "in", "out", "written", "core-hours"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
    for stage in found.stages:
        about = "" if stage.exact else "~"
        cells = [_cell(stage.rows_in, about), _cell(stage.rows_out, about)]
        cells += ["?" if stage.bytes is None else about + size(stage.bytes)]
        cells += ["?" if stage.core_hours is None else f"~{_hours(stage.core_hours)}"]
        table.add_row(stage.stage, "?" if stage.tasks is None else f"{stage.tasks:,}", *cells)
    table.add_section()
    table.add_row("all", "", "", "", f"~{size(found.bytes)}", f"~{_hours(found.core_hours)}")
    console.print(table)
    for name, item in found.inputs.items():
        measured = "all of it" if item.whole else f"{size(item.sampled)} from {_files(len(item.paths))}"
        console.print(f"{name}: {_files(item.files)}, {size(item.bytes)}; measured: {measured}")
    if found.linked is not None:
        share, low, high = (100 * value for value in found.linked)
        console.print(f"pages that belong to links: ~{share:.3g} % (95 %: {low:.3g} to {high:.3g} %)")
    if found.tokens is not None:
        console.print(f"tokens: ~{short(found.tokens)}")
    console.print(f"near dedup finds: {curve(settings.near_dedup.bands, settings.near_dedup.rows)}")
    took = clock(3600 * found.core_hours / workers)
    console.print(f"time on {workers} cores like these, as busy as now: ~{took}")
    if found.free is not None:
        console.print(f"disk: ~{size(found.bytes)} needed under {found.root}, {size(found.free)} free")
    for warning in found.warnings:
        console.print(f"WARNING: {warning}", style="yellow")


def _cell(value: float | None, about: str) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if not about else f"~{short(round(value))}"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value >= 0.001 else "<0.001"


def card(target: str, overrides: Sequence[str], output: str | None) -> None:
    """Print the data card, or write it.

    Raises:
        UserError: no documents yet, or it cannot be written.
    """
    text = cards.render(Corpus.open(target, overrides))
    if output is None:
        sys.stdout.write(text)
        return
    if store.is_local(output) and store.local(output).is_dir():
        raise UserError("is a folder", where=output, fix="give a file, for example README.md in it")
    store.write_bytes(output, text.encode())
    print(f"card: {output}")


def report(target: str, overrides: Sequence[str], stage: str | None, output: str | None, domains: str | None) -> None:
    """Make the report of a stage and say where it is.

    Raises:
        UserError: as `report.build.make`.
    """
    if output is not None and store.is_local(output) and store.local(output).is_dir():
        raise UserError("is a folder", where=output, fix="give a file, for example report.html in it")
    made = build.make(Corpus.open(target, overrides), stage, output, domains)
    m = made.metrics
    print(f"{made.stage}: {m['documents']:,.0f} documents, {size(m['text_bytes'])} of text, ", end="")
    print(f"median {m.get('words/p50', 0):,.0f} words")
    print(f"page: {made.page}")
    print(f"figures: {made.figures}")


def inspect(
    target: str,
    overrides: Sequence[str],
    stage: str | None,
    reason: str | None,
    kept: bool | None,
    n: int,
    seed: int,
    id: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Show reasons and samples, or one document's way.

    Raises:
        UserError: an unknown stage, reason or document; options that exclude each other.
    """
    if id is not None and url is not None:
        raise UserError("--id and --url name the same thing", where="command line", fix="give one of them")
    corpus = Corpus.open(target, overrides)
    if id is not None or url is not None:
        if stage is not None or reason is not None or kept is not None:
            raise UserError(
                "--id and --url show one document's way through all stages",
                where="command line",
                fix="leave --stage, --reason, --kept and --dropped out",
            )
        _trail(corpus, inspection.page_id(corpus, id, url), as_json)
        return
    if reason is not None and kept:
        raise UserError("a reason is one for leaving out", where="--reason", fix="leave --kept out")
    views = [view for view in corpus.stages if view.manifest is not None and view.step.funnel]
    if stage is not None:
        views = [corpus.complete(stage)]
    elif not views:
        raise UserError("no stage is complete yet", where=corpus.root, fix="see `data-prep status`")
    if reason is not None:
        inspection.check_reason(views, reason)
        views = [view for view in views if view.manifest and reason in view.manifest.totals.dropped]
    _reasons(views, reason, as_json)
    console = _console()
    if kept is not True:
        removed = inspection.dropped(corpus, views, n, seed, reason)
        if not as_json and n:
            note = "" if removed else ": none is logged (rows that were never documents are only counted)"
            console.print(f"\nLeft out{note}", style="bold")
        _show(removed, console, as_json)
    if kept is not False and reason is None:
        view = views[-1] if stage is not None else next((v for v in reversed(views) if v.documents), views[-1])
        stayed = inspection.kept(view, n, seed)
        if not as_json and n:
            note = "" if stayed else ": its rows are no pages"
            console.print(f"\nKept by {view.name}{note}", style="bold")
        _show(stayed, console, as_json)


def _reasons(views: Sequence[StageView], reason: str | None, as_json: bool) -> None:
    table = Table()
    for heading in ("stage", "reason", "rows", "of its input", "logged"):
        table.add_column(heading, justify="left" if heading in ("stage", "reason") else "right", overflow="fold")
    for view in views:
        assert view.manifest is not None
        totals = view.manifest.totals
        if as_json:
            _print_json({"kind": "stage", "stage": view.name, "rows_in": totals.rows_in, "rows_out": totals.rows_out})
        table.add_section()
        table.add_row(
            view.name, "kept", f"{totals.rows_out:,}", percent(totals.rows_out, totals.rows_in), "", style="bold"
        )
        for item in inspection.reasons(view):
            if reason is not None and item.reason != reason:
                continue
            if as_json:
                _print_json({"kind": "reason", **asdict(item)})
            share = percent(item.rows, totals.rows_in)
            table.add_row(
                "", printable(item.reason), f"{item.rows:,}", share, f"{item.logged:,}" if item.logged else ""
            )
    if not as_json:
        _console().print(table)


def _show(found: Sequence[inspection.Found], console: Console, as_json: bool) -> None:
    for item in found:
        if as_json:
            _print_json({"kind": "document", **asdict(item)})
            continue
        console.print(Text(printable(item.url), style="cyan", overflow="fold"))
        _indented(console, " · ".join([*_facts(item), f"id {item.id}"]), "dim")
        if item.text is not None and item.twin_text is not None:
            _pair(console, item.text, item.twin_text)
        elif item.text is not None:
            _indented(console, excerpt(item.text, _EXCERPT))


def _pair(console: Console, left_out: str, kept: str) -> None:
    """Two texts side by side from their first difference on, what differs in bold."""
    table = Table(show_edge=False, pad_edge=False)
    cells = []
    for name, passage in zip(("left out", "kept"), side_by_side(left_out, kept), strict=True):
        table.add_column(f"{name}, from word {passage.first + 1:,} on", ratio=1, overflow="fold")
        line = Text()
        for word, differs in passage.words:
            line.append(printable(word) + " ", style="bold yellow" if differs else "")
        cells.append(line)
    table.add_row(*cells)
    console.print(Padding(table, (0, 0, 0, 2)))


def _indented(console: Console, line: str, style: str = "") -> None:
    console.print(Padding(Text(line, style=style), (0, 0, 0, 2), expand=False))


def _facts(item: inspection.Found) -> Iterator[str]:
    if item.kept:
        yield f"{item.stage}: kept"
        if item.score is not None:
            yield f"karma {item.score:,.0f}"
        created = item.fields.get("created_utc")
        if created is not None:
            yield f"{datetime.fromtimestamp(created, UTC):%Y-%m-%d}"
        for name in ("subreddit", "language"):
            if item.fields.get(name):
                yield printable(str(item.fields[name]))
    else:
        yield f"{item.stage}: {printable(item.reason)}"
        if item.score is not None:
            yield f"score {item.score:.4g}"
        if item.detail:
            yield excerpt(item.detail, 300)


def _trail(corpus: Corpus, id: str, as_json: bool) -> None:
    console = _console()
    events = inspection.trail(corpus, id)
    if as_json:
        for event in events:
            _print_json({"kind": "event", **asdict(event)})
        return
    known = [found for event in events for found in event.found]
    if known:
        console.print(Text(printable(known[-1].url), style="cyan", overflow="fold"))
    console.print(f"id {id}", style="dim")
    # Behind a removal there is nothing to tell.
    last = max(i for i, event in enumerate(events) if event.found or event.place)
    ended = bool(events[last].found) and not any(found.kept for found in events[last].found)
    for event in events[: last + 1] if ended else events:
        for found in event.found:
            _indented(console, " · ".join(_facts(found)))
        if event.place:
            _indented(console, f"{event.stage}: {event.place}")
        elif not event.found:
            _indented(console, f"{event.stage}: neither kept nor in its removal log", "dim")
    text = next((found.text for found in reversed(known) if found.text is not None), None)
    if text is not None:
        console.print()
        _indented(console, excerpt(text, _EXCERPT))
