"""The scores of a suite as tables for people: on the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.evaluate.suite.scores import SHARES, Score

_LEAST_WIDTH = 170
COLUMNS = ("task", "variant", "metric", "value", "95 % interval", "n", "chance", "majority", "published")


def rows(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """A row of texts for each score, in the order of `COLUMNS`."""
    return [
        (
            one.task,
            _variant(one),
            one.metric,
            f"{number(one.metric, one.estimate.value)} ± {number(one.metric, one.estimate.stderr)}",
            f"{number(one.metric, one.estimate.low)} .. {number(one.metric, one.estimate.high)}",
            f"{one.estimate.n:,}",
            _floor(one, "chance") or _floor(one, "uniform"),
            _floor(one, "majority"),
            published(one),
        )
        for one in scores
    ]


def _floor(score: Score, name: str) -> str:
    return number(score.metric, score.floors[name]) if name in score.floors else ""


def _variant(score: Score) -> str:
    """With the number of solved examples that fit, where not all did, and of questions that were cut."""
    shots, used = score.definition.get("shots"), score.definition.get("shots_used_mean")
    cut = score.definition.get("contexts_cut")
    notes = [f"{used:.1f} fit"] if shots and used != shots else []
    notes += [f"{cut:,} cut"] if cut else []
    return f"{score.variant} ({', '.join(notes)})".strip() if notes else score.variant


def number(metric: str, value: float) -> str:
    """A value as papers print it: shares in percent, perplexities with two places."""
    if value != value:
        return "-"
    if metric.startswith(SHARES):
        return f"{100 * value:.2f} %"
    if metric.startswith("bits"):
        return f"{value:.4f}"
    return f"{value:,.2f}" if abs(value) < 1e6 else f"{value:.3g}"


def published(score: Score) -> str:
    """The published numbers: of the smallest and the largest model of each source."""
    texts = []
    for one in score.references:
        values = list(one.values.items())
        ends = [values[0], values[-1]] if len(values) > 1 else values
        texts.append(", ".join(f"{model} {number(score.metric, value)}" for model, value in ends))
    return "; ".join(texts)


def show_scores(scores: Sequence[Score], name: str, limit: int | None) -> None:
    """Print the tasks' own metrics; all others are in `scores.md`."""
    title = f"{name}" + (f": LIMITED to {limit} examples of each set, no result" if limit is not None else "")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in COLUMNS[3:8] else "left", overflow="fold")
    for row in rows([one for one in scores if one.main]):
        table.add_row(*row)
    console = Console()
    Console(width=max(console.width, _LEAST_WIDTH) if not console.is_terminal else None).print(table)


def markdown(scores: Sequence[Score], limit: int | None) -> str:
    """All scores as a table in Markdown."""
    lines = [f"LIMITED to {limit} examples of each set: no result.\n"] if limit is not None else []
    lines += [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(row) for row in rows(scores)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def show_comparison(found: Sequence[Mapping[str, Any]], against: str) -> None:
    """Print the paired tests."""
    print(f"against {against}:")
    for row in found:
        name = " ".join(filter(None, (row["task"], row.get("variant", ""))))
        if "not_compared" in row:
            print(f"    {name}: not compared, {row['not_compared']}")
        else:
            print(
                f"    {name}: {row['of']} {row['difference']:+.4f} ± {row['stderr']:.4f}, p = {row['p_value']:.3g} "
                f"({row['test']}; {row['better']} better, {row['worse']} worse of {row['n']})",
                flush=True,
            )
