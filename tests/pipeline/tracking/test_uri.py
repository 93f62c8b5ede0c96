from http.client import RemoteDisconnected
from pathlib import Path

import pytest

from data_prep.errors import UserError
from pipeline.tracking.uri import reason, resolve_uri, shown


def test_environment_then_config_then_the_database_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert resolve_uri(None, "/elsewhere") == "sqlite:////elsewhere/mlflow.db"
    assert resolve_uri("sqlite:///mine.db") == f"sqlite:///{tmp_path}/mine.db"
    assert resolve_uri("http://host:5000") == "http://host:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://wins:1")
    assert resolve_uri("http://host:5000") == "http://wins:1"


@pytest.mark.parametrize("folder", ["mlruns", "/abs/mlruns", "file:///abs/mlruns"])
def test_a_plain_folder_is_refused(folder: str) -> None:
    with pytest.raises(UserError, match="does not write to plain folders"):
        resolve_uri(folder)


def test_credentials_are_not_shown() -> None:
    assert shown("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert shown("sqlite:////home/me/mlflow.db") == "sqlite:////home/me/mlflow.db"


def test_the_reason_of_a_failure_is_short_and_without_credentials() -> None:
    refused = RuntimeError("Max retries exceeded")
    refused.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert reason(refused) == "Connection refused"
    late = RuntimeError("HTTPConnectionPool(host='h', port=1): Read timed out.")
    late.__context__ = TimeoutError("timed out")
    assert reason(late) == "no answer in time"
    closed = RuntimeError("Max retries exceeded")
    closed.__context__ = RemoteDisconnected("Remote end closed connection without response")
    assert reason(closed) == "Remote end closed connection without response"
    text = reason(RuntimeError("GET http://me:secret@host/x\n failed " + "x" * 500))
    assert text.startswith("GET http://host/x failed xxx")
    assert len(text) == 160
    assert reason(RuntimeError()) == "RuntimeError"
