"""The background thread that brings MLflow up to date with a run folder, and never troubles the run."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path

from pipeline.tracking.uri import reason, shown

PERIOD_SECONDS = 3.0
BACKOFF_SECONDS = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)


class Follower:
    """Follows one run folder with one tracking server, from construction until `stop`.

    A server that fails is left alone for 5, 10, 20 ... 300 seconds; whatever it misses stays in the folder and is sent
    when it answers. Everything that takes time, the import of mlflow included, happens on a daemon thread.
    """

    def __init__(self, run_dir: Path, uri: str) -> None:
        self._run_dir, self._uri, self._shown = run_dir, uri, shown(uri)
        self._stop = threading.Event()
        self._complete = False
        self._last_error = "it did not answer in time"
        _import_polars()
        self._thread = threading.Thread(target=self._follow, name="mlflow-follower", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Send what is left, for at most `timeout_s` seconds; whether MLflow now has everything."""
        self._stop.set()
        self._thread.join(timeout_s)
        if not self._complete:
            _say(
                f"MLflow at {self._shown} does not have all of this run ({self._last_error}); send the rest with: "
                f"python launch/track.py sync {self._run_dir} --uri {self._shown}"
            )
        return self._complete

    def _follow(self) -> None:
        failures = 0
        mirror = None
        while True:
            last = self._stop.is_set()
            try:
                if mirror is None:
                    from pipeline.tracking.mlflow import Mirror

                    mirror = Mirror(self._run_dir, self._uri)
                mirror.push()
            except Exception as error:  # whatever goes wrong in a server or its client must not reach the run
                self._last_error = reason(error)
                if failures == 0 and not last:
                    _say(
                        f"MLflow at {self._shown} cannot be used now ({self._last_error}); the run goes on, its "
                        f"metrics are kept in {self._run_dir} and sent when it can"
                    )
                failures += 1
            else:
                if failures:
                    _say(f"MLflow at {self._shown} is up to date again")
                failures = 0
                self._complete = last
            if last:
                return
            wait = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1] if failures else PERIOD_SECONDS
            self._stop.wait(wait)


def _import_polars() -> None:
    """Now, where it is installed: mlflow loads it on the thread, and scikit-learn fails on a half-loaded one."""
    with suppress(ImportError):
        import polars  # noqa: F401


def _say(line: str) -> None:
    print(f"tracking: {line}", file=sys.stderr, flush=True)
