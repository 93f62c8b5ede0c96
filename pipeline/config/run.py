"""Where a run is and where it is told of."""

from __future__ import annotations

from pydantic import Field

from data_prep.configfile import Settings


class RunConfig(Settings):
    """Where a run writes and what makes it repeatable.

    Attributes:
        name: folder name under `dir`, and run name in MLflow.
        dir: folder that holds all runs.
        seed: of initial weights, sample order and dropout.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    dir: str = "runs"
    seed: int = 1234


class TrackingConfig(Settings):
    """Where metrics go besides the run folder.

    Attributes:
        mlflow: whether MLflow is told at all.
        uri: tracking server; the environment's MLFLOW_TRACKING_URI wins; else a database in `run.dir`.
        experiment: name of the MLflow experiment.
    """

    mlflow: bool = True
    uri: str | None = None
    experiment: str = "webtext"
