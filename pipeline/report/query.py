"""Reads the runs of an experiment from MLflow into plain data."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import UserError
from pipeline.report.runs import FILES, Comparison, Curve, RunView, files_in, is_curve, sort_runs
from pipeline.tracking.connection import connect
from pipeline.tracking.data_runs import PREFIX
from pipeline.tracking.mlflow import FOLDER_TAG, STEP_METRIC, UID_TAG, cannot_use
from pipeline.tracking.runfolder import RunRecord
from pipeline.tracking.uri import shown, sqlite_path

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_PAGE = 200
ID_CHARS = 8
"""So many characters of a run's id are enough to name it, and are shown."""


def load(uri: str, experiment: str, wanted: Sequence[str] = ()) -> Comparison:
    """Read an experiment.

    Args:
        uri: the store.
        experiment: its name.
        wanted: names or ids of runs, eight or more characters of an id being enough; none of them means all runs.

    Raises:
        UserError: the store cannot be used, it has no such experiment, or that has no such run.
    """
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise UserError(
            "there is no tracking store yet",
            where=str(database),
            fix="give --runs FOLDER (the demo's: runs/demo), --uri, or run folders",
        )
    try:
        client = connect(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            names = sorted(e.name for e in client.search_experiments())
            raise UserError(
                f"there is no experiment {experiment!r}", where=shown(uri), fix=f"it has {', '.join(names)}"
            )
        runs = sorted(_search(client, found.experiment_id), key=lambda run: int(run.info.start_time or 0))
        views = [_view(client, run, uri) for run in (_pick(runs, wanted, experiment) if wanted else runs)]
    except UserError:
        raise
    except Exception as error:
        raise cannot_use(uri, error) from error
    return sort_runs(shown(uri), experiment, views)


def _pick(runs: Sequence[Run], wanted: Sequence[str], experiment: str) -> list[Run]:
    """The runs that are asked for, in the order in which they are."""
    found: dict[str, Run] = {}
    for name in wanted:
        same = [run for run in runs if name == run.info.run_name or _is_id(name, run.info.run_id)]
        if not same:
            raise UserError(
                f"no run has the name or id {name!r}, and no run folder lies there",
                where=f"experiment {experiment!r}",
                fix="without names, all runs of the experiment are compared and listed",
            )
        found |= {run.info.run_id: run for run in same}
    return list(found.values())


def _is_id(text: str, run_id: str) -> bool:
    return len(text) >= ID_CHARS and run_id.startswith(text)


def _search(client: MlflowClient, experiment_id: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=_PAGE, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _view(client: MlflowClient, run: Run, uri: str) -> RunView:
    latest = {m.key: int(m.step) for m in run.to_proto().data.metrics}
    stage = run.data.tags.get("stage", "")
    curves = {} if stage.startswith(PREFIX) else {k: _curve(client, run, k) for k in latest if is_curve(k)}
    folder = _folder(run)
    return RunView(
        run_id=run.info.run_id,
        name=run.info.run_name,
        stage=stage,
        status=run.info.status,
        start_ms=run.info.start_time or 0,
        params=run.data.params,
        tags=run.data.tags,
        metrics=run.data.metrics,
        tokens=latest.get(STEP_METRIC, max(latest.values(), default=0)),
        curves=curves,
        uid=run.data.tags.get(UID_TAG, ""),
        folder=str(folder) if folder is not None else "",
        url=run_page(uri, run.info.experiment_id, run.info.run_id),
        files=files_in(folder, stage) if folder is not None else _artifacts(client, run.info.run_id, stage),
    )


def run_page(uri: str, experiment_id: str, run_id: str) -> str:
    """Address of a run on an MLflow server, without credentials; "" for a store without pages."""
    where = shown(uri).rstrip("/")
    return f"{where}/#/experiments/{experiment_id}/runs/{run_id}" if where.startswith("http") else ""


def _folder(run: Run) -> Path | None:
    """The run folder, if it lies on this machine and is this very run's."""
    tags = run.data.tags
    if FOLDER_TAG in tags:
        folder = Path(tags[FOLDER_TAG])
        with suppress(UserError, OSError):
            return folder if RunRecord.load(folder).id == tags.get(UID_TAG) else None
    return None


def _artifacts(client: MlflowClient, run_id: str, stage: str) -> dict[str, str]:
    """The small files that the comparison reads, from the store; what it lacks is left out."""
    found: dict[str, str] = {}
    if wanted := FILES.get(stage, ()):
        there = {item.path for item in client.list_artifacts(run_id)}
        with tempfile.TemporaryDirectory() as folder:
            for name in wanted:
                if name in there:
                    path = client.download_artifacts(run_id, name, folder)
                    found[name] = Path(path).read_text(encoding="utf-8")
    return found


def _curve(client: MlflowClient, run: Run, key: str) -> Curve:
    # Earliest first, so that of several values at one step the latest stays.
    history = sorted(client.get_metric_history(run.info.run_id, key), key=lambda m: m.timestamp)
    return sorted({m.step: m.value for m in history if math.isfinite(m.value)}.items())
