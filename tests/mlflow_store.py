"""A real tracking store that the tests of several folders share; import both fixtures into a conftest.py."""

import functools
from pathlib import Path

import pytest


@functools.cache
def _initialised(folder: Path) -> str:
    from pipeline.tracking.connection import connect

    folder.mkdir(exist_ok=True)
    uri = f"sqlite:///{folder}/mlflow.db"
    connect(uri)
    return uri


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an initialised SQLite tracking store. Tests share it: take an experiment name of your own."""
    return _initialised(tmp_path_factory.getbasetemp() / "mlflow")


@pytest.fixture(autouse=True)
def no_tracking_uri_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own tracking server is none of the tests' business."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
