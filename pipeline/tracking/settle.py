"""The end of a run whose process was killed and could not say so."""

from __future__ import annotations

from pathlib import Path

from pipeline.exit_codes import ExitCode, read_ended
from pipeline.runs import RunFolder
from pipeline.tracking.runfolder import METRICS_FILE, RUN_FILE, SYSTEM_FILE, RunRecord, Status


def settle(run_dir: Path) -> bool:
    """Mark the end of a run that says it runs, and whose folder no process holds; whether it was so.

    It was KILLED, unless one of its ranks could still write `ended.json`, and ended when something was last written
    about it.

    Raises:
        UserError: the folder holds no run, or its record is damaged.
    """
    if RunRecord.load(run_dir).status != "RUNNING":
        return False
    with RunFolder(run_dir).unclaimed() as dead:
        record = RunRecord.load(run_dir)  # again: it may have ended in the meantime
        if not dead or record.status != "RUNNING":
            return False
        files = [run_dir / name for name in (RUN_FILE, METRICS_FILE, SYSTEM_FILE)]
        record.end_time_ms = max(file.stat().st_mtime_ns for file in files if file.exists()) // 1_000_000
        record.status = _status(run_dir)
        record.save(run_dir)
    return True


def _status(run_dir: Path) -> Status:
    ended = read_ended(run_dir)
    if ended is None or ended.get("code") in (ExitCode.STOPPED, ExitCode.INTERRUPTED):
        return "KILLED"
    return "FINISHED" if ended.get("code") == ExitCode.FINISHED else "FAILED"
