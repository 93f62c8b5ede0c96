"""The analysis as one self-contained HTML page: no script, no font, no picture from elsewhere, no link into the web."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from data_prep.corpus import StageView
from data_prep.excerpt import excerpt
from data_prep.inspect import Found, Reason
from data_prep.report.charts import Column, Tick, columns, decade_ticks, percent, rows, short, table, text
from data_prep.report.measure import Measures, SampleDocument
from data_prep.report.published import CORPORA, DOMAINS_SOURCE
from data_prep.report.sketches import LogHistogram
from data_prep.report.style import STYLE

_LANGUAGES, _DOMAINS = 12, 20
_PER_DECADE = 10
_EXCERPT = 280


@dataclass(frozen=True)
class Removed:
    """A reason with examples."""

    reason: Reason
    examples: Sequence[Found]


@dataclass(frozen=True)
class Content:
    """All that the page shows.

    Attributes:
        corpus: its name.
        root: its folder.
        stage: the stage whose documents were measured.
        digest: of that stage's manifest.
        funnel: complete stages up to this one.
        links: URLs with enough karma; None if that stage is not complete.
        measures: of the documents.
        removed: why stages left rows out, in the order of the chain.
        webtext: domain label -> frequency in WebText, most frequent first.
    """

    corpus: str
    root: str
    stage: str
    digest: str
    funnel: Sequence[StageView]
    links: int | None
    measures: Measures
    removed: Sequence[Removed]
    webtext: Mapping[str, int]


def render(content: Content) -> str:
    """The page's HTML; the same bytes for the same corpus."""
    m = content.measures
    title = f"{content.corpus}: documents after {content.stage}"
    sections = [
        _cards(content),
        _section("Funnel", _funnel(content.funnel) + _published(content)),
        _section("Lengths", _lengths(m)),
        _section("Languages", _languages(m)),
        _section("Domains", _domains(content)),
        _section("Dates and karma", f"<div class=pair>{_months(m)}{_karma(m)}</div>"),
        _section("Left out, by reason", _removed(content.removed)),
        _section("Samples", "".join(_sample(document) for document in m.sample.items) or "<p>none</p>"),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{text(title)}</title>'
        f"<style>{STYLE}</style></head><body><main><header><h1>{text(title)}</h1>"
        f"<p class=sub>{text(content.root)} · stage manifest {content.digest[:16]}</p></header>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{text(title)}</h2>{body}</section>"


def _cards(content: Content) -> str:
    m = content.measures
    cards = [
        (f"{m.documents:,}" if m.documents < 10**7 else short(m.documents), "documents", ""),
        (size(m.text_bytes), "of text, UTF-8", f"mean {size(m.text_bytes / max(m.documents, 1))} a document"),
        (short(m.words.quantile(0.5)), "words in the median document", f"{short(m.words.total)} words in all"),
    ]
    if content.links:
        note = f"of {content.links:,} links with enough karma"
        cards.append((percent(m.documents, content.links), "of the links are in", note))
    items = "".join(
        f"<div class=card><b>{text(figure)}</b><span>{text(what)}</span><small>{text(note)}</small></div>"
        for figure, what, note in cards
    )
    return f"<div class=cards>{items}</div>"


def size(count: float) -> str:
    """Bytes with a decimal unit."""
    shown = short(count)
    return f"{shown[:-1]} {shown[-1]}B" if shown[-1].isalpha() else f"{count:.0f} B"


def _funnel(stages: Sequence[StageView]) -> str:
    totals = [(view.name, view.manifest.totals) for view in stages if view.manifest is not None and view.step.funnel]
    most = max((max(t.rows_in, t.rows_out) for _, t in totals), default=0) or 1
    lines = []
    for name, t in totals:
        reasons = sorted(t.dropped.items(), key=lambda item: (-item[1], item[0]))
        items = "".join(f"<li>{text(reason)} <b>{count:,}</b></li>" for reason, count in reasons)
        lines.append(
            f"<div class=stage><div class=what><b>{text(name)}</b>"
            f"<span>{t.rows_in:,} → {t.rows_out:,} · {percent(t.rows_out, t.rows_in)}</span></div>"
            f'<div class=bar><i style="width:{100 * t.rows_in / most:.2f}%"></i>'
            f'<i class=out style="width:{100 * t.rows_out / most:.2f}%"></i></div>'
            f"{f'<ul>{items}</ul>' if items else ''}</div>"
        )
    key = "<p class=key><i></i>read <i class=out></i>kept; below, what was left out and why</p>"
    return f"<div class=funnel>{''.join(lines)}</div>{key}"


def _published(content: Content) -> str:
    m = content.measures

    def cell(value: int | None, show: Callable[[float], str] = short) -> str:
        return "—" if value is None else show(value)

    mine = (content.links, m.documents, m.text_bytes)
    body = [["this corpus", "—" if mine[0] is None else f"{mine[0]:,}", f"{mine[1]:,}", size(mine[2])]]
    body += [[c.name, cell(c.links), cell(c.documents), cell(c.text_bytes, size)] for c in CORPORA]
    paper = CORPORA[0]
    pairs = zip(mine, (paper.links, paper.documents, paper.text_bytes), strict=True)
    body.append(["share of WebText", *(percent(a, b) if a is not None and b else "—" for a, b in pairs)])
    sources = "—: not published. " + "; ".join(f"{c.name}: {c.source}" for c in CORPORA)
    return (
        f"<h3 style='margin-top:18px'>Beside published corpora</h3>"
        f"{table(['corpus', 'links', 'documents', 'text'], body)}<p class=sub>{text(sources)}</p>"
    )


def _lengths(m: Measures) -> str:
    charts = f"<div class=pair>{_histogram('Characters', m.characters)}{_histogram('Words', m.words)}</div>"
    both = (m.characters, m.words)
    body = [["least", *(f"{h.least:,}" for h in both)]]
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        body.append(["median" if q == 0.5 else f"{100 * q:.0f} %", *(short(h.quantile(q)) for h in both)])
    body.append(["most", *(f"{h.most:,}" for h in both)])
    body += [["mean", *(short(h.mean) for h in both)], ["sum", *(short(h.total) for h in both)]]
    heads = ["of a document", "characters", "words"]
    note = "Words are divided by white space. Quantiles are right to 1.2 %."
    return f"{charts}{table(heads, body)}<p class=sub>{note}</p>"


def _histogram(title: str, h: LogHistogram) -> str:
    bars = h.bars(_PER_DECADE)
    found = [
        Column(bar.count, f"{bar.low:,.0f} to {bar.high:,.0f}: {bar.count:,} ({percent(bar.count, h.count)})")
        for bar in bars
    ]
    ticks = decade_ticks(bars[0].low, bars[-1].high, _PER_DECADE) if bars else []
    return columns(f"{title} of a document", f"{title.lower()}, logarithmic", "documents", found, ticks)


def _languages(m: Measures) -> str:
    known = {language: count for language, count in m.languages.items() if language}
    if not known:
        return "<p>Not detected yet at this stage: the filter does it.</p>"
    ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    items = [(name, count, f"{count:,} · {percent(count, m.documents)}") for name, count in ranked[:_LANGUAGES]]
    rest = m.documents - sum(count for _, count in ranked[:_LANGUAGES])
    if rest:
        items.append(("others or none", rest, f"{rest:,} · {percent(rest, m.documents)}"))
    return rows([(name, float(count), note) for name, count, note in items])


def _domains(content: Content) -> str:
    m, webtext = content.measures, content.webtext
    rank = {name: place for place, name in enumerate(webtext, 1)}
    mine = []
    for name, count in m.domains.top(_DOMAINS):
        place = f" · #{rank[name]}" if name in rank else ""
        mine.append((name, float(count), f"{count:,} · {percent(count, m.documents)}{place}"))
    theirs = []
    for name, count in list(webtext.items())[:_DOMAINS]:
        here = m.domains.count(name)
        theirs.append((name, float(count), f"{short(count)} · here {here:,}"))
    listed = f"{len(webtext):,} most frequent"
    few = "" if not m.domains.error else f" Counts are too low by at most {m.domains.error:,}."
    more = "" if m.domains.error else f"{len(m.domains):,} different domains. "
    covered = sum(m.domains.count(name) for name in webtext)
    note = (
        f"{more}{percent(covered, m.documents)} of the documents come from WebText's {listed}; # is the rank there. "
        f"A domain is named by its registered part without the public suffix (bbc of news.bbc.co.uk).{few} "
        f"WebText: {DOMAINS_SOURCE}."
    )
    return (
        f"<div class=pair><div><h3>This corpus</h3>{rows(mine)}</div>"
        f"<div><h3>WebText</h3>{rows(theirs, 'other')}</div></div><p class=sub style='margin-top:10px'>{text(note)}</p>"
    )


def _months(m: Measures) -> str:
    if not m.months:
        return columns("Month of the first submission", "month", "documents", [], [])
    first, last = min(m.months), max(m.months)
    found = [
        Column(m.months[month], f"{month // 12}-{month % 12 + 1:02d}: {m.months[month]:,}")
        for month in range(first, last + 1)
    ]
    years = [(month - first, str(month // 12)) for month in range(first, last + 1) if month % 12 == 0]
    step = max(1, -(-len(years) // 6))
    ticks = [Tick(float(at), year) for at, year in years[::step]] or [Tick(0.0, f"{first // 12}-{first % 12 + 1:02d}")]
    return columns("Month of the first submission", "month", "documents", found, ticks)


def _karma(m: Measures) -> str:
    steps = sorted(m.karma_steps)
    found = [Column(m.karma_steps[step], f"{karma_label(step)}: {m.karma_steps[step]:,}") for step in steps]
    every = max(1, -(-len(steps) // 10))
    ticks = [Tick(i + 0.5, karma_label(step).split("–")[0]) for i, step in enumerate(steps) if i % every == 0]
    return columns("Karma", "karma, from this number on; each step doubles", "documents", found, ticks)


def karma_label(step: int) -> str:
    """`8` -> `8–15`."""
    return "below 1" if step < 1 else str(step) if step < 4 else f"{step:,}–{2 * step - 1:,}"


def _removed(removed: Sequence[Removed]) -> str:
    items = []
    for entry in removed:
        reason = entry.reason
        head = (
            f"<summary><b>{text(reason.stage)}: {text(reason.reason)}</b> "
            f"<small>{reason.rows:,} · {reason.share:.1%} of its input</small></summary>"
        )
        body = "".join(_example(found) for found in entry.examples)
        if not reason.logged:
            body = "<p class=sub>Counted only: these rows were never documents.</p>"
        items.append(f"<details>{head}{body}</details>")
    return "".join(items) or "<p>Nothing was left out.</p>"


def _example(found: Found) -> str:
    facts = [f"score {found.score:.4g}" if found.score is not None else "", excerpt(found.detail, 200)]
    body = "" if found.text is None else f"<p dir=auto>{text(excerpt(found.text, _EXCERPT))}</p>"
    note = " · ".join(fact for fact in facts if fact)
    return f"<div class=doc><code>{text(excerpt(found.url, 300))}</code><small>{text(note)}</small>{body}</div>"


def _sample(document: SampleDocument) -> str:
    facts = [f"{document.words:,} words", f"{document.characters:,} characters"]
    if document.score is not None:
        facts.append(f"karma {document.score:,}")
    if document.created_utc is not None:
        facts.append(f"{datetime.fromtimestamp(document.created_utc, UTC):%Y-%m-%d}")
    if document.language:
        facts.append(document.language)
    return (
        f"<div class=doc><code>{text(excerpt(document.url, 300))}</code><small>{text(' · '.join(facts))}</small>"
        f"<p dir=auto>{text(document.text)}</p></div>"
    )
