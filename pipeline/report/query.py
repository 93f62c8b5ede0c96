"""Reads the runs of an experiment from MLflow into plain data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from data_prep.errors import UserError
from pipeline.tracking.connection import connect
from pipeline.tracking.data_runs import ORDER_TAG, PREFIX, ROOT_TAG
from pipeline.tracking.lineage import EXPERIMENT, PARENT_TAG
from pipeline.tracking.mlflow import STEP_METRIC, cannot_use
from pipeline.tracking.uri import shown, sqlite_path

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

Curve = list[tuple[int, float]]
"""(tokens consumed, value), by tokens."""
INNER_STAGES = (
    "exact-keys",
    "exact-urls",
    "exact-duplicates",
    "near-signatures",
    "near-edges",
    "near-clusters",
)
"""Steps inside the two deduplications."""

CURVES = ("train/loss", "val/loss", "val/accuracy", "perf/tokens_per_s")
BEST = "best/"
"""Prefix of the metrics of a run's best checkpoint."""
_PAGE = 200


@dataclass(frozen=True)
class RunView:
    """A run as the comparison needs it.

    Attributes:
        run_id: MLflow's id.
        name: as shown.
        stage: "pretrain", "finetune", "evaluate" or "data/<stage>".
        status: MLflow's status.
        start_ms: unix time, milliseconds.
        params: settings.
        tags: tags.
        metrics: last value of each metric.
        tokens: largest number of consumed tokens of any metric.
        curves: history of the metrics in `CURVES`; one point for a number of tokens.
    """

    run_id: str
    name: str
    stage: str
    status: str = "FINISHED"
    start_ms: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tokens: int = 0
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def init(self) -> str:
        """Of a fine-tuning run: "pretrained" or "random" initial weights."""
        return self.params.get("init.weights", "unknown")

    @property
    def headline(self) -> str:
        """Of a fine-tuning run: the metric by which it selects."""
        found = [name.removeprefix(BEST) for name in self.metrics if name.startswith(BEST)]
        return next((name for name in found if name != "step"), "accuracy")

    @property
    def tokens_per_second(self) -> float | None:
        """Median speed over the run."""
        speeds = [value for _, value in self.curves.get("perf/tokens_per_s", [])]
        return statistics.median(speeds) if speeds else None

    @property
    def unigram_entropy(self) -> float | None:
        """Entropy of the validation tokens, nats per token, if the run recorded it."""
        value = self.params.get("data.unigram_entropy")
        return None if value is None else float(value)


@dataclass(frozen=True)
class Comparison:
    """All runs of an experiment, sorted into kinds.

    Attributes:
        uri: the store, without credentials.
        experiment: its name.
        data: data root -> its newest run for each stage, in the order of the chain.
        pretrain: oldest first, as the following two.
        finetune: fine-tuning runs, without those that belong to an experiment.
        evaluate: evaluation runs.
        experiments: the parents of the runs of experiments, which hold their medians and ranges.
    """

    uri: str
    experiment: str
    data: Mapping[str, Sequence[RunView]] = field(default_factory=dict)
    pretrain: Sequence[RunView] = ()
    finetune: Sequence[RunView] = ()
    evaluate: Sequence[RunView] = ()
    experiments: Sequence[RunView] = ()

    @property
    def runs(self) -> list[RunView]:
        """Every run, data first."""
        data = [run for stages in self.data.values() for run in stages]
        return [*data, *self.pretrain, *self.finetune, *self.evaluate]


def is_inner(run: RunView) -> bool:
    """Whether a run is a data stage that handles keys and pairs instead of documents; people look at the others."""
    return run.stage.removeprefix(PREFIX) in INNER_STAGES


def load(uri: str, experiment: str) -> Comparison:
    """Read an experiment.

    Raises:
        UserError: the store cannot be used, or it has no such experiment.
    """
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise UserError(
            "there is no tracking store yet",
            where=str(database),
            fix="give --runs FOLDER (the demo's: runs/demo) or --uri",
        )
    try:
        client = connect(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            names = sorted(e.name for e in client.search_experiments())
            raise UserError(
                f"there is no experiment {experiment!r}", where=shown(uri), fix=f"it has {', '.join(names)}"
            )
        runs = [_view(client, run) for run in _search(client, found.experiment_id)]
    except UserError:
        raise
    except Exception as error:
        raise cannot_use(uri, error) from error
    return sort_runs(shown(uri), experiment, runs)


def sort_runs(uri: str, experiment: str, runs: Sequence[RunView]) -> Comparison:
    """Sort runs into kinds; of a data stage done several times under one root the newest counts."""
    runs = sorted((run for run in runs if PARENT_TAG not in run.tags), key=lambda run: run.start_ms)
    data: dict[str, dict[str, RunView]] = {}
    for run in runs:
        if run.stage.startswith(PREFIX):
            data.setdefault(run.tags.get(ROOT_TAG, ""), {})[run.stage] = run
    ordered = {
        root: sorted(stages.values(), key=lambda run: int(run.tags.get(ORDER_TAG, "0")))
        for root, stages in data.items()
    }
    kinds = {kind: [run for run in runs if run.stage == kind] for kind in ("pretrain", "finetune", "evaluate")}
    return Comparison(uri, experiment, ordered, **kinds, experiments=[run for run in runs if run.stage == EXPERIMENT])


def _search(client: MlflowClient, experiment_id: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=_PAGE, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _view(client: MlflowClient, run: Run) -> RunView:
    latest = {m.key: int(m.step) for m in run.to_proto().data.metrics}
    stage = run.data.tags.get("stage", "")
    curves = {} if stage.startswith(PREFIX) else {k: _curve(client, run, k) for k in CURVES if k in latest}
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
    )


def _curve(client: MlflowClient, run: Run, key: str) -> Curve:
    # Earliest first, so that of several values at one step the latest stays.
    history = sorted(client.get_metric_history(run.info.run_id, key), key=lambda m: m.timestamp)
    return sorted({m.step: m.value for m in history if math.isfinite(m.value)}.items())
