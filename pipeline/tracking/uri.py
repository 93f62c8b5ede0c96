"""Which tracking store a run goes to."""

from __future__ import annotations

import os
import re
from pathlib import Path

from data_prep.errors import UserError

DEFAULT_EXPERIMENT = "webtext"
ENVIRONMENT = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_REASON_CHARS = 160


def resolve_uri(configured: str | None, runs: str | Path = "runs") -> str:
    """The tracking URI: the environment's MLFLOW_TRACKING_URI, else the configured one, else `<runs>/mlflow.db`.

    Relative SQLite paths are made absolute, so that launchers that change the working directory do not matter.

    Raises:
        UserError: a folder (MLflow's file store), which MLflow no longer writes.
    """
    uri = os.environ.get(ENVIRONMENT) or configured or f"{_SQLITE}{runs}/mlflow.db"
    if uri.startswith(_SQLITE):
        return _SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute())
    if "://" not in uri or uri.startswith("file:"):
        raise UserError(
            "MLflow does not write to plain folders any more",
            where=f"tracking URI {uri}",
            fix="give sqlite:///PATH/mlflow.db or http://HOST:PORT",
        )
    return uri


def sqlite_path(uri: str) -> Path | None:
    """The database file of an SQLite URI, else None."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def shown(uri: str) -> str:
    """The URI without user name and password, for messages and files."""
    return re.sub(r"//[^/@]+@", "//", uri)


def reason(error: BaseException) -> str:
    """Why a store failed, in a few words, without credentials."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.errno is not None and inner.strerror:
            return inner.strerror
        if isinstance(inner, TimeoutError):
            return "no answer in time"
        if isinstance(inner, ConnectionError) and type(inner).__module__ in ("builtins", "http.client") and str(inner):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    text = shown(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= _REASON_CHARS else f"{text[: _REASON_CHARS - 3]}..."
