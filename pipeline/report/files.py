"""The comparison as files: one HTML page, the same tables in Markdown, the figures of every run as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from data_prep import store
from pipeline.report.page import render
from pipeline.report.paired import Difference
from pipeline.report.runs import Comparison, model_run, parameters_of
from pipeline.report.sections import Analysis
from pipeline.report.table import Table, differing

_ABOUT = ("run_id", "run", "stage", "status", "started", "model", "parameters", "consumed", "training_flops")


def write(page: Path, analysis: Analysis, now: datetime | None = None) -> list[Path]:
    """Write page, Markdown and CSV files side by side, each atomically; returns their paths.

    Args:
        page: the HTML file; the others have its name with other endings.
        analysis: what to show.
        now: time that the page names.

    Raises:
        UserError: the disk is full.
    """
    text = render(analysis, now or datetime.now(UTC), page.parent)
    found = {page: text, page.with_suffix(".md"): markdown(analysis), page.with_suffix(".csv"): to_csv(analysis)}
    if analysis.differences:
        found[page.with_suffix(".paired.csv")] = differences_csv(analysis.differences)
    for path, content in found.items():
        store.write_bytes(str(path), content.encode())
    return list(found)


def markdown(analysis: Analysis) -> str:
    """Every table."""
    return "\n".join([f"# Experiment {analysis.comparison.experiment}\n", *map(markdown_table, analysis.tables)])


def markdown_table(table: Table) -> str:
    """A table with its title and note."""
    lines = [table.columns, ["---" if i < table.left else "---:" for i in range(len(table.columns))], *table.rows]
    rows = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"## {table.title}\n\n{rows}\n" + (f"\n{table.note}\n" if table.note else "")


def to_csv(analysis: Analysis) -> str:
    """A line for each run: what it is, the settings in which runs of its kind differ, the last value of each metric.

    Shares are shares, losses are in nats, times in seconds; nothing is rounded. `consumed` counts tokens, of
    fine-tuning examples.
    """
    comparison = analysis.comparison
    kinds = [comparison.pretrain, comparison.finetune, comparison.evaluate]
    settings = sorted({key for runs in kinds for key in differing(runs)})
    lines = list(_lines(comparison, settings))
    metrics = sorted({key for line in lines for key in line if key.startswith("metric.")})
    return _csv([*_ABOUT, *(f"param.{key}" for key in settings), *metrics], lines)


def _lines(comparison: Comparison, settings: Sequence[str]) -> Iterator[dict[str, object]]:
    everything = [*comparison.runs, *comparison.experiments]
    for run in everything:
        maker = model_run(run, comparison.runs)
        flops = run.flops_per_token
        values = (
            *(run.run_id, run.name, run.stage, run.status),
            datetime.fromtimestamp(run.start_ms / 1000, UTC).isoformat(timespec="seconds"),
            *(maker.name if maker is not None else None, parameters_of(run, comparison.runs), run.tokens),
            flops * run.tokens if flops is not None else None,
        )
        yield {
            **dict(zip(_ABOUT, values, strict=True)),
            **{f"param.{key}": run.params.get(key) for key in settings},
            **{f"metric.{key}": value for key, value in run.metrics.items()},
        }


def differences_csv(found: Sequence[Difference]) -> str:
    """A line for each task of two runs."""
    columns = ["run", "baseline", "task", "variant", "of", "difference", "low", "high", "stderr", "p_value"]
    lines = [
        {
            **one.found,
            "run": one.run.name,
            "baseline": one.baseline.name,
            "task": one.task,
            "variant": one.variant,
            **({"low": one.low, "high": one.high, "p_adjusted": one.adjusted} if one.compared else {}),
        }
        for one in found
    ]
    return _csv([*columns, "p_adjusted", "test", "n", "better", "worse", "not_compared"], lines)


def _csv(columns: Sequence[str], lines: Sequence[dict[str, object]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
