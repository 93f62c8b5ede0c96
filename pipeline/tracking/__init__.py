"""Runs on disk first, in MLflow second: nothing here makes a training step wait for a server."""

from pipeline.tracking.runfolder import DatasetInput, RunInfo
from pipeline.tracking.tracker import Tracker

__all__ = ["DatasetInput", "RunInfo", "Tracker"]
