"""Tables of the comparison: rows as text, shown on a terminal, in a file or on the page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table as RichTable

from pipeline.report.origins import ancestors, edges
from pipeline.report.runs import BEST, RunView, is_inner, model_run
from pipeline.tracking.data_runs import PREFIX
from pipeline.tracking.lineage import DIGEST_TAG, MADE_TAGS, run_id_tag, upstream_of

NONE = "-"
_MOST_PARAMS = 6
_NOT_A_SETTING = (
    "model.parameters",
    "model.flops_per_token",
    "run.name",
    "run.dir",
    "tracking.",
    "checkpoint.",
    "data.unigram",
    "train.log_every",
)


@dataclass(frozen=True)
class Table:
    """A table; every row has a text for each column.

    Attributes:
        title: what is compared.
        columns: heads, with units.
        rows: cells.
        note: a remark below.
        left: how many columns from the left hold text; the others are numbers.
        runs: the run of each row, where a row is about one; its name stands in the first column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    left: int = 1
    runs: Sequence[RunView] = ()


MAJORITY = "majority"
SHARES = ("accuracy", "f1")
"""Metrics that are shares of something; the others are correlations."""


def number(value: float | None, digits: int = 0) -> str:
    """With thousands separators; "-" for nothing."""
    if value is None:
        return NONE
    return f"{value:,.{digits}f}" if math.isfinite(value) else str(value)


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def short(identifier: str) -> str:
    """The first eight characters of a digest or run id."""
    return identifier[:8]


def differing(runs: Sequence[RunView]) -> list[str]:
    """Keys of the params that are settings of the training and not the same in all runs."""
    keys = sorted({key for run in runs for key in run.params if not key.startswith(_NOT_A_SETTING)})
    return [key for key in keys if len({run.params.get(key) for run in runs}) > 1]


def dropped(run: RunView) -> list[tuple[str, int]]:
    """Reasons for leaving rows out and their counts, most frequent first."""
    found = [(k.removeprefix("dropped/"), int(v)) for k, v in run.metrics.items() if k.startswith("dropped/")]
    return sorted(((reason, count) for reason, count in found if count), key=lambda item: (-item[1], item[0]))


def data_table(root: str, stages: Sequence[RunView]) -> Table:
    """The funnel of one data root."""
    rows = []
    for run in stages:
        if is_inner(run):
            continue
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in dropped(run)) or NONE
        rows_in, rows_out = run.metrics.get("rows_in"), run.metrics.get("rows_out")
        seconds = number(run.metrics.get("seconds"), 1)
        rows.append([run.stage.removeprefix(PREFIX), number(rows_in), number(rows_out), seconds, reasons])
    return Table(f"Data: {root}", ["stage", "rows in", "rows out", "time (s)", "left out, by reason"], rows)


def pretrain_table(runs: Sequence[RunView]) -> Table:
    """Pretraining runs with the settings in which they differ."""
    keys = differing(runs)
    columns = [
        "run",
        "parameters",
        *keys[:_MOST_PARAMS],
        "tokens",
        "train loss (nats)",
        "val loss (nats)",
        "val perplexity",
    ]
    columns += ["val bits/byte", "tokens/s", *_state_column(runs), "run id"]
    rows = []
    for run in runs:
        val = run.metrics.get("val/loss")
        ppl = run.metrics.get("val/ppl", math.exp(val) if val is not None else None)
        rows.append(
            [
                run.name,
                number(run.parameters),
                *(run.params.get(key, NONE) for key in keys[:_MOST_PARAMS]),
                number(run.tokens),
                number(run.metrics.get("train/loss"), 3),
                number(val, 3),
                number(ppl, 1),
                number(run.metrics.get("val/bits_per_byte"), 3),
                number(run.tokens_per_second),
                *_state(run, runs),
                short(run.run_id),
            ]
        )
    notes = sorted({f"{e:.3f}" for run in runs if (e := run.unigram_entropy) is not None})
    note = f"Unigram entropy of the validation tokens: {', '.join(notes)} nats per token." if notes else ""
    if len(keys) > _MOST_PARAMS:
        note += f" Further settings differ: {', '.join(keys[_MOST_PARAMS:])}."
    return Table("Pretraining", columns, rows, note.strip(), runs=runs)


def finetune_table(runs: Sequence[RunView]) -> Table:
    """Fine-tuning runs with the metric that each selects by, from pretrained and from random weights."""
    columns = ["run", "task", "initial weights", "metric", "best validation", "test", "majority class", "train loss"]
    rows = []
    for run in runs:
        metric, curve = run.headline, run.curves.get("val/accuracy", [])
        share = percent if metric in SHARES else partial(number, digits=3)
        best = max((value for _, value in curve), default=None) if metric == "accuracy" else None
        rows.append(
            [
                run.name,
                run.params.get("task.name", NONE),
                run.init,
                metric,
                share(run.metrics.get(f"{BEST}{metric}", best)),
                share(run.metrics.get(f"test/{metric}")),
                percent(run.metrics.get("test/majority")),
                number(run.metrics.get("train/loss"), 3),
                *_state(run, runs),
                short(run.run_id),
            ]
        )
    return Table("Fine-tuning", [*columns, *_state_column(runs), "run id"], rows, left=4, runs=runs)


def evaluate_table(runs: Sequence[RunView], everything: Sequence[RunView]) -> Table:
    """Evaluation runs, each with the model it evaluated."""
    columns = ["run", "model", "ppl/token", "ppl/word", "ppl/byte", "bits/byte", "choice accuracy", "chance"]
    rows = []
    for run in runs:
        accuracy, stderr = run.metrics.get("choice/accuracy"), run.metrics.get("choice/stderr")
        spread = "" if stderr is None or accuracy is None else f" ± {100 * stderr:.1f}"
        rows.append(
            [
                run.name,
                model_of(run, everything),
                number(run.metrics.get("lm/ppl_token"), 2),
                number(run.metrics.get("lm/ppl_word"), 1),
                number(run.metrics.get("lm/ppl_byte"), 3),
                number(run.metrics.get("lm/bits_per_byte"), 3),
                NONE if accuracy is None else f"{100 * accuracy:.1f}{spread} %",
                percent(run.metrics.get("choice/chance")),
                *_state(run, runs),
                short(run.run_id),
            ]
        )
    columns += [*_state_column(runs), "run id"]
    filled = [i for i, name in enumerate(columns) if name in ("run", "model") or any(row[i] != NONE for row in rows)]
    note = "Perplexity of held-out text; ± is one standard error." if len(filled) > 3 else ""
    columns, rows = [columns[i] for i in filled], [[row[i] for i in filled] for row in rows]
    return Table("Evaluation", columns, rows, note, left=2, runs=runs)


def experiment_table(run: RunView) -> Table:
    """An experiment's medians and ranges over its seeds, as its parent run holds them."""
    rows = []
    for key in sorted(run.metrics, key=_with_numbers):
        where, _, kind = key.rpartition("/")
        above, _, metric = where.rpartition("/")
        if kind != "median" or metric == MAJORITY:
            continue
        form = percent if metric in SHARES else partial(number, digits=3)
        values = [run.metrics.get(f"{where}/{end}") for end in ("median", "min", "max")]
        majority = run.metrics.get(f"{above}/{MAJORITY}/median") if metric == "accuracy" else None
        rows.append([above.removesuffix("/test"), metric, *map(form, values), percent(majority)])
    columns = ["arm", "metric", "median", "smallest", "largest", "most frequent label"]
    note = f"Seeds {run.tags.get('seeds', '')}. The runs themselves lie below run {short(run.run_id)}."
    return Table(f"Experiment {run.name}: {run.tags.get('title', '')}", columns, rows, note, left=2)


def _with_numbers(key: str) -> list[tuple[float, str]]:
    """To sort by, with the numbers in it by their size."""
    parts = re.split(r"(\d[\d,.]*)", key)
    return [(float(part.replace(",", "").rstrip(".")), "") if part[:1].isdigit() else (-1, part) for part in parts]


def lineage_table(runs: Sequence[RunView]) -> Table:
    """What each run made and from what, with what only longer paths say left out."""
    by_id = {run.run_id: run for run in runs}
    direct = edges(runs)
    reach = ancestors(direct)
    made_here = {run.tags[tag] for run in runs for tag in MADE_TAGS if tag in run.tags}
    rows = []
    for run in runs:
        if is_inner(run):
            continue
        above = [f"{by_id[origin].name}{_made(by_id[origin], ' ')}" for origin in sorted(direct[run.run_id])]
        # Raw files, and what runs of another experiment made; once, where it came in.
        told = made_here.union(*(upstream_of(by_id[origin].tags).values() for origin in reach[run.run_id]))
        for stage, digest in upstream_of(run.tags).items():
            if digest not in told:
                maker = run.tags.get(run_id_tag(stage))
                above.append(f"{stage} {short(digest)}" + (f" (run {short(maker)})" if maker else ""))
        rows.append([run.stage, run.name, short(run.run_id), _made(run) or NONE, ", ".join(above) or NONE])
    return Table("Lineage", ["stage", "run", "run id", "digest", "made from"], rows, left=5)


def _made(run: RunView, before: str = "") -> str:
    return before + short(run.tags[DIGEST_TAG]) if DIGEST_TAG in run.tags else ""


def model_of(run: RunView, everything: Sequence[RunView]) -> str:
    """Name of the run whose model an evaluation or fine-tuning run used, or the start of that model's digest."""
    maker = model_run(run, everything)
    if maker is not None:
        return maker.name
    above = upstream_of(run.tags)
    return next((short(above[stage]) for stage in ("finetune", "pretrain", "imported") if stage in above), NONE)


def _state_column(runs: Sequence[RunView]) -> list[str]:
    return ["status"] if any(run.status != "FINISHED" for run in runs) else []


def _state(run: RunView, runs: Sequence[RunView]) -> list[str]:
    return [run.status] if _state_column(runs) else []


def show(table: Table, console: Console) -> None:
    """Print: with colour and rules on a terminal, as plain aligned text elsewhere."""
    if not console.is_terminal:
        console.print(plain(table), markup=False, highlight=False, soft_wrap=True)
        return
    rich = RichTable(title=table.title, title_justify="left", title_style="bold", caption=table.note or None)
    rich.caption_justify = "left"
    for i, column in enumerate(table.columns):
        is_text = i < table.left or column in ("left out, by reason", "run id", "status")
        rich.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich)
    console.print()


def plain(table: Table) -> str:
    """Aligned text."""
    lines = [list(table.columns), *[list(row) for row in table.rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    text = [table.title]
    for line in lines:
        cells = [
            c.ljust(w) if i < table.left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        if table.columns[-1] == "left out, by reason":
            cells[-1] = line[-1]
        text.append("  " + "  ".join(cells).rstrip())
    if table.note:
        text.append("  " + table.note)
    return "\n".join(text) + "\n"
