"""Runs as plain data, wherever they were read from."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.experiments.run import CHILDREN, SETTINGS
from pipeline.runs import RESULT
from pipeline.tracking.data_runs import ORDER_TAG, PREFIX, ROOT_TAG
from pipeline.tracking.lineage import DIGEST_TAG, EXPERIMENT, PARENT_TAG, run_id_tag, upstream_of

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
ZERO_SHOT = "zero_shot/"
"""Prefix of the scores that a pretraining run takes of itself."""
BEST = "best/"
"""Prefix of the metrics of a run's best checkpoint."""
FILES = {"evaluate": (RESULT,), EXPERIMENT: (SETTINGS, CHILDREN)}
"""Small files of a run folder that the comparison reads, by stage."""


def is_curve(metric: str) -> bool:
    """Whether the history of a metric is shown, and not only its last value.

    Of a score taken during pretraining, the other normalisations of its accuracy are left out.
    """
    last = metric.rpartition("/")[2]
    other = last.startswith("accuracy_") and last != "accuracy_stderr"
    return metric in CURVES or (metric.startswith(ZERO_SHOT) and not other)


def files_in(folder: Path, stage: str) -> dict[str, str]:
    """The small files of a run folder, as far as they are there: name -> text."""
    found = {name: folder / name for name in FILES.get(stage, ())}
    return {name: path.read_text(encoding="utf-8") for name, path in found.items() if path.is_file()}


@dataclass(frozen=True)
class RunView:
    """A run as the comparison needs it.

    Attributes:
        run_id: MLflow's id; of a run read from its folder, the folder's.
        name: as shown.
        stage: "pretrain", "finetune", "evaluate" or "data/<stage>".
        status: MLflow's status.
        start_ms: unix time, milliseconds.
        params: settings.
        tags: tags.
        metrics: last value of each metric.
        tokens: largest number of consumed tokens of any metric.
        curves: history of the metrics that `is_curve` names; one point for a number of tokens.
        uid: id of the run folder, by which its children name it.
        folder: where the run folder lies on this machine; "" if it does not.
        url: page of the run on an MLflow server; "" without one.
        files: small files of the run folder that `FILES` names: name -> text.
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
    uid: str = ""
    folder: str = ""
    url: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> int | None:
        """Parameters of its model, if the run says."""
        value = self.params.get("model.parameters")
        return None if value is None else int(value)

    @property
    def flops_per_token(self) -> float | None:
        """FLOPs of a forward and backward pass for a token (`pipeline.model.sizes`), if the run says."""
        value = self.params.get("model.flops_per_token")
        return None if value is None else float(value)

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
        pretrain: in the given order, as the following two.
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


def sort_runs(uri: str, experiment: str, runs: Sequence[RunView]) -> Comparison:
    """Sort runs into kinds.

    Of a data stage done several times under one root the newest counts, and an experiment stands for its runs.
    """
    experiments = {run.uid for run in runs if run.stage == EXPERIMENT}
    runs = [run for run in runs if run.tags.get(PARENT_TAG) not in experiments]
    data: dict[str, dict[str, RunView]] = {}
    for run in sorted(runs, key=lambda run: run.start_ms):
        if run.stage.startswith(PREFIX):
            data.setdefault(run.tags.get(ROOT_TAG, ""), {})[run.stage] = run
    ordered = {
        root: sorted(stages.values(), key=lambda run: int(run.tags.get(ORDER_TAG, "0")))
        for root, stages in data.items()
    }
    kinds = {kind: [run for run in runs if run.stage == kind] for kind in ("pretrain", "finetune", "evaluate")}
    return Comparison(uri, experiment, ordered, **kinds, experiments=[run for run in runs if run.stage == EXPERIMENT])


def model_run(run: RunView, everything: Sequence[RunView]) -> RunView | None:
    """The run whose model an evaluation or fine-tuning run used, if it is there."""
    for stage in ("finetune", "pretrain"):
        digest, run_id = upstream_of(run.tags).get(stage), run.tags.get(run_id_tag(stage))
        if digest or run_id:
            makers = [o for o in everything if o.run_id == run_id or (digest and o.tags.get(DIGEST_TAG) == digest)]
            return makers[-1] if makers else None
    return None


def parameters_of(run: RunView, everything: Sequence[RunView]) -> int | None:
    """Parameters of the model that a run trained or evaluated, if it or the maker of the model says."""
    seen: set[str] = set()
    at: RunView | None = run
    while at is not None and at.run_id not in seen:
        if at.parameters is not None:
            return at.parameters
        seen.add(at.run_id)
        at = model_run(at, everything)
    return None
