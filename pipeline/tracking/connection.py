"""A client of an MLflow store, and what the store takes."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep import store
from pipeline.tracking.uri import sqlite_path

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

BATCH_METRICS = 1000
"""The REST API's limit of points for one log_batch."""
_KEY_CHARS = 250
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",
}


def connect(uri: str) -> MlflowClient:
    """A client whose SQLite store, if it is one, exists and has its tables.

    Raises:
        Exception: whatever mlflow raises when the store cannot be used.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    database = sqlite_path(uri)
    if database is None:
        return MlflowClient(tracking_uri=uri)
    # Processes that create one SQLite store at the same time break each other's migrations, and one that is killed in
    # the middle leaves a store that never works: so one at a time, and under a name that counts only when it is done.
    with _locked(database.with_name(database.name + ".lock")):
        if not database.exists():
            for left in database.parent.glob(f"{database.name}.*{store.TMP_SUFFIX}"):
                left.unlink()
            # A name of its own each time, as mlflow keeps what it opened under a name for the life of the process.
            new = database.with_name(f"{database.name}.{uuid.uuid4().hex}{store.TMP_SUFFIX}")
            MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            new.replace(database)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def log_metrics(client: MlflowClient, run_id: str, metrics: list[Metric]) -> int:
    """Send points in batches that the server takes; returns their number."""
    for i in range(0, len(metrics), BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[i : i + BATCH_METRICS])
    return len(metrics)


def metric_key(name: str) -> str:
    """A name that MLflow takes: letters, digits, `_-. :/`."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:_KEY_CHARS]
