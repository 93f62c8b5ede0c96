"""The look at a task as one self-contained HTML page, in the style of the page on a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_prep.excerpt import excerpt
from data_prep.report.charts import Column, Tick, columns, decade_ticks, percent, rows, short, table, text
from data_prep.report.sketches import LogHistogram
from data_prep.report.style import STYLE
from pipeline.finetune.measures import QUANTILES, Measures, SplitView
from pipeline.finetune.task import Example, Task

_PER_DECADE = 10
_EXCERPT = 400
_LABELS = 20


def render(task: Task, measures: Measures, warnings: Sequence[str]) -> str:
    """The page's HTML; the same bytes for the same task."""
    title = f"{task.name}: a look at the task"
    form = f" · form {task.form}" if task.form else ""
    licence = f" · licence: {task.licence}" if task.licence else ""
    sections = [
        _cards(task, measures),
        _section("Warnings", _list(warnings) if warnings else "<p>None.</p>"),
        _section("Labels" if task.target == "label" else "Scores", _labels(task, measures)),
        _section("Lengths", _lengths(measures)),
        _section("Repeats and overlap", _repeats(task, measures)),
        _section("Odd texts", _odd(measures)),
        _section("Examples of train", _examples(task, measures)),
    ]
    if task.notes:
        sections.append(_section("Notes", _list(task.notes)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{text(title)}</title>'
        f"<style>{STYLE}</style></head><body><main><header><h1>{text(title)}</h1>"
        f"<p class=sub>{text(task.kind)} · {text(task.where)}{text(form)}{text(licence)} · digest "
        f"{task.digest[:16]}</p></header>{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{text(title)}</h2>{body}</section>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def _cards(task: Task, m: Measures) -> str:
    test = m.splits["test"]
    others = ", ".join(f"{split.examples:,} {name}" for name, split in m.splits.items() if name != "train")
    cards = [
        (f"{m.train.examples:,}", "training examples", others),
        (
            short(float(np.median(m.train.tokens))),
            "tokens in the median example",
            f"{percent(m.train.cut, m.train.examples)} are cut at the context of {m.context}",
        ),
        (percent(test.seen, test.examples), "of test share a text with train", f"{test.in_train[0]:,} all of it"),
    ]
    if task.target == "label":
        cards.insert(1, (f"{100 * task.majority('test'):.1f} %", "accuracy of the majority on test", "the floor"))
    items = "".join(
        f"<div class=card><b>{text(figure)}</b><span>{text(what)}</span><small>{text(note)}</small></div>"
        for figure, what, note in cards
    )
    return f"<div class=cards>{items}</div>"


def _labels(task: Task, m: Measures) -> str:
    if task.target == "score":
        return _score_chart(m.scores)
    shown = sorted(m.train.labels, key=lambda label: -m.train.labels[label])[:_LABELS]
    shown = [label for label in m.train.labels if label in shown]
    bars = rows([(label, float(m.train.labels[label]), _share(m.train, label)) for label in shown])
    body = [
        [label, *(_share(split, label) for split in m.splits.values()), short(m.median_tokens.get(label, 0))]
        for label in shown
    ]
    what = "position of the right candidate" if task.kind == "choice" else "label"
    rest = len(m.train.labels) - len(shown)
    note = f"<p class=sub>{rest} more labels are not shown.</p>" if rest else ""
    return f"<h3>train</h3>{bars}<br>{table([what, *m.splits, 'median tokens'], body)}{note}"


def _share(split: SplitView, label: str) -> str:
    count = split.labels.get(label, 0)
    return f"{count:,} · {percent(count, split.examples)}"


def _score_chart(scores: npt.NDArray[np.float64]) -> str:
    counts, edges = np.histogram(scores, bins=20)
    bars = [
        Column(int(count), f"{low:.2f} to {high:.2f}: {count:,}")
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    ]
    ticks = [Tick(float(at), f"{edges[at]:.3g}") for at in range(0, 21, 4)]
    body = [[f"{scores.min():.3g}", f"{np.median(scores):.3g}", f"{scores.mean():.3g}", f"{scores.max():.3g}"]]
    return columns("Scores of train", "score", "examples", bars, ticks) + table(
        ["least", "median", "mean", "most"], body, 0
    )


def _lengths(m: Measures) -> str:
    charts = "".join(_histogram(name, m.splits[name].tokens) for name in ("train", "test"))
    body = [["least", *(f"{split.tokens.min():,}" for split in m.splits.values())]]
    for q in QUANTILES:
        name = "median" if q == 0.5 else f"{100 * q:.0f} %"
        body.append([name, *(f"{np.quantile(split.tokens, q):,.0f}" for split in m.splits.values())])
    body.append(["most", *(f"{split.tokens.max():,}" for split in m.splits.values())])
    body.append([f"cut at {m.context}", *(percent(split.cut, split.examples) for split in m.splits.values())])
    note = (
        f"Special tokens included, of a choice with the longest candidate. A token stands for {m.bytes_per_token:.2f} "
        "bytes of train."
    )
    heads = ["tokens of an example", *m.splits]
    return f"<div class=pair>{charts}</div><br>{table(heads, body)}<p class=sub>{text(note)}</p>"


def _histogram(name: str, tokens: npt.NDArray[np.int64]) -> str:
    histogram = LogHistogram()
    histogram.add(tokens)
    bars = histogram.bars(_PER_DECADE)
    found = [Column(bar.count, f"{bar.low:,.0f} to {bar.high:,.0f}: {bar.count:,}") for bar in bars]
    ticks = decade_ticks(bars[0].low, bars[-1].high, _PER_DECADE, 9) if bars else []
    return columns(name, "tokens, logarithmic", "examples", found, ticks)


def _repeats(task: Task, m: Measures) -> str:
    heads = ["", *m.splits]
    body = [
        ["repeats an earlier example", *(f"{split.repeated.rows:,}" for split in m.splits.values())],
        ["texts with several labels", *(f"{split.repeated.contradictions:,}" for split in m.splits.values())],
    ]
    others = [split for name, split in m.splits.items() if name != "train"]
    body += [
        ["is whole in train", "—", *(f"{split.in_train[0]:,}" for split in others)],
        ["... with another label", "—", *(f"{split.in_train[1]:,}" for split in others)],
    ]
    if task.kind != "classification":
        what = "shares its context with train" if task.kind == "choice" else "shares a text with train"
        body.append([what, "—", *(f"{split.seen:,} · {percent(split.seen, split.examples)}" for split in others)])
    top = m.train.repeated_texts
    most = ""
    if top:
        lines = [[excerpt(what, 160), f"{count:,}"] for what, count in top]
        most = "<br>" + table(["the most repeated texts of train", "examples"], lines)
    note = "Texts are compared after NFKC, in lower case, with single spaces."
    return f"{table(heads, body)}<p class=sub>{note}</p>{most}"


def _odd(m: Measures) -> str:
    found = list(dict.fromkeys(what for split in m.splits.values() for what in split.odd))
    if not found:
        return "<p>None.</p>"
    body = [[what, *(f"{split.odd.get(what, (0, ''))[0]:,}" for split in m.splits.values())] for what in found]
    samples = "".join(
        f"<div class=doc><small>{text(what)}</small><p>{text(excerpt(m.train.odd[what][1], 200))}</p></div>"
        for what in found
        if what in m.train.odd
    )
    counts = table(["a text with", *m.splits], body)
    return f"{counts}<details><summary>The first of each in train</summary>{samples}</details>"


def _examples(task: Task, m: Measures) -> str:
    groups = [(label, examples) for label, examples in m.samples.items() if examples][:_LABELS]
    return "".join(
        f"<h3 style='margin-top:14px'>{text(label)}</h3>{''.join(_example(task, one) for one in examples)}"
        for label, examples in groups
    )


def _example(task: Task, example: Example) -> str:
    if task.kind == "choice":
        marks = ["context", *("right" if i == example.label else "wrong" for i in range(len(example.texts) - 1))]
    else:
        names = {"classification": ("",), "entailment": ("premise", "hypothesis"), "similarity": ("a", "b")}
        marks = list(names[task.kind])
    lines = "".join(
        f"<p>{f'<small>{mark}</small>' if mark else ''}{text(excerpt(one, _EXCERPT))}</p>"
        for mark, one in zip(marks, example.texts, strict=True)
    )
    score = f"<small>score {example.label:g}</small>" if isinstance(example.label, float) else ""
    return f"<div class=doc>{score}{lines}</div>"
