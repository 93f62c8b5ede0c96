"""Reads runs from their folders, without any tracking store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError
from pipeline.report.runs import Comparison, RunView, files_in, is_curve, sort_runs
from pipeline.tracking.lineage import run_id_tag, upstream_of
from pipeline.tracking.runfolder import RUN_FILE, RunRecord, read_metrics


def load_folders(folders: Sequence[str]) -> Comparison:
    """Read run folders, and all that lie below a folder that is none itself.

    Args:
        folders: in the order in which they are to be shown; runs below one of them from the oldest to the newest.

    Raises:
        UserError: a folder holds no run.
        CorruptFile: a run's record or metrics are damaged.
    """
    records: dict[Path, RunRecord] = {}
    for name in folders:
        folder = Path(name)
        found = [folder] if (folder / RUN_FILE).is_file() else [path.parent for path in folder.rglob(RUN_FILE)]
        if not found:
            raise UserError(f"no run lies here ({RUN_FILE} is missing)", where=name, fix="give run folders")
        new = {path: RunRecord.load(path) for path in found}
        records |= dict(sorted(new.items(), key=lambda item: item[1].start_time_ms))
    # A run names the checkpoint that it used, and any of a run's may be it.
    makers = {one.digest: record.id for record in records.values() for one in record.checkpoints}
    names = sorted({record.experiment for record in records.values()})
    runs = [_view(path, record, makers) for path, record in records.items()]
    return sort_runs(", ".join(folders), ", ".join(names), runs)


def _view(path: Path, record: RunRecord, makers: dict[str, str]) -> RunView:
    metrics: dict[str, float] = {}
    curves: dict[str, dict[int, float]] = {}
    tokens = 0
    for _, line in read_metrics(path):
        metrics |= line.metrics
        tokens = max(tokens, line.tokens)
        for key, value in line.metrics.items():
            if is_curve(key) and math.isfinite(value):
                curves.setdefault(key, {})[line.tokens] = value
    links = {run_id_tag(stage): makers[d] for stage, d in upstream_of(record.tags).items() if d in makers}
    return RunView(
        run_id=record.id,
        name=record.name,
        stage=record.stage,
        status=record.status,
        start_ms=record.start_time_ms,
        params=record.params,
        tags={**record.tags, **links},
        metrics={**metrics, **record.final},
        tokens=tokens,
        curves={key: sorted(points.items()) for key, points in curves.items()},
        uid=record.id,
        folder=str(path),
        files=files_in(path, record.stage),
    )
