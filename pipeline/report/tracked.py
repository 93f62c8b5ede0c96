"""The comparison as a run of its own in MLflow: the files as artifacts, its tables as the description."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from data_prep import store
from pipeline.report.files import markdown_table
from pipeline.report.sections import Analysis
from pipeline.tracking.lineage import environment_tags
from pipeline.tracking.mlflow import SyncResult, sync
from pipeline.tracking.runfolder import RunInfo, RunRecord

STAGE = "compare"
_NOTE_TAG = "mlflow.note.content"
"""What MLflow shows as the description of a run."""
_NOTE_CHARS = 5000


def log(page: Path, files: Sequence[Path], analysis: Analysis, uri: str, experiment: str) -> SyncResult:
    """Bring the store up to date with a comparison. The same page again is the same run, with new files.

    Args:
        page: the HTML file; the run folder lies beside it, under its name without ending.
        files: what was written, the page included.
        analysis: what they show.
        uri: the store.
        experiment: in which the run is to be; made if it is not there.

    Raises:
        UserError: the store cannot be used, or the disk is full.
    """
    folder = page.with_suffix("")
    now = time.time_ns() // 1_000_000
    compared = [run.name for run in (*analysis.comparison.runs, *analysis.comparison.experiments)]
    info = RunInfo(
        name=f"comparison-{page.stem}",
        stage=STAGE,
        tags={**environment_tags(), "compared": ", ".join(compared), _NOTE_TAG: note(analysis, page.name)},
    )
    record = RunRecord.new(info, experiment, now, store.digest({"page": str(page.absolute()), "in": experiment})[:32])
    record.artifacts = [os.path.relpath(path, folder) for path in files]
    record.final = {"runs": float(len(compared))}
    record.status, record.end_time_ms = "FINISHED", now
    record.save(folder)
    return sync(folder, uri)


def note(analysis: Analysis, page: str) -> str:
    """Where the page is, and as many whole tables as MLflow takes in a description."""
    text = f"All tables, with plots: `{page}` among the artifacts.\n"
    for table in map(markdown_table, analysis.tables):
        if len(text) + len(table) + 1 <= _NOTE_CHARS:
            text += f"\n{table}"
    return text
