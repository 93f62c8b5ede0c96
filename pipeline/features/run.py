"""A feature-based run from its configuration to its result, in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from data_prep.configfile import config_sha, flatten, resolved
from data_prep.shards import DatasetManifest
from pipeline.complete import made_from, result_of, run_folder
from pipeline.config.features import FeaturesConfig
from pipeline.features.examples import Matrix, example_features, row_counts
from pipeline.features.heads import Labels, Predict, RowScores, fit
from pipeline.features.tfidf import Tfidf
from pipeline.features.vectors import MeanVectors, load_vectors, train_vectors, trained_path
from pipeline.finetune.examples import label_numbers
from pipeline.finetune.metrics import measure, with_floors
from pipeline.finetune.task import Example, Task
from pipeline.launcher import end_with_launcher
from pipeline.tracking import DatasetInput, RunInfo, Tracker
from pipeline.tracking.lineage import environment_tags, upstream_tags
from pipeline.tracking.uri import resolve_uri

TRAIN, VALIDATION = "train", "validation"
_SHOWN = {"vectors": "word vectors", "tfidf": "TF-IDF"}
Say = Callable[[str], None]


@dataclass
class _Extractor:
    """What makes features of examples.

    Attributes:
        features: examples -> [rows, features].
        lineage: what it was made from.
        facts: for the tracker, asked for when all examples are done.
        notes: for people, then too.
    """

    features: Callable[[Sequence[Example]], Matrix]
    lineage: dict[str, str] = field(default_factory=dict)
    facts: Callable[[], dict[str, Any]] = dict
    notes: Callable[[], list[str]] = list


def features(config: FeaturesConfig, say: Say = print) -> dict[str, Any]:
    """Train and test, or recognise as complete; returns the content of `result.json`.

    Raises:
        UserError: the task, the model, the vectors or a setting cannot be used.
    """
    done = result_of(config)
    if done is not None:
        return done
    read = made_from(config)
    end_with_launcher()
    task = Task.load(config.task, say)
    extractor = _extractor(config, task, say)
    run = run_folder(config.run)
    run.lock()
    run.write_config(config)
    info = RunInfo(
        name=config.run.name,
        stage="finetune",
        params={
            **flatten(resolved(config)),
            "method": config.method,
            "init.weights": _SHOWN.get(config.method) or f"frozen {config.init.weights if config.init else ''}",
            "task.kind": task.kind,
            "task.labels": len(task.labels),
            "task.train_examples": len(task.splits[TRAIN]),
        },
        tags={
            **environment_tags(),
            **upstream_tags({**extractor.lineage, "task": task.source}),
            "config_sha": config_sha(config),
        },
        inputs=[
            DatasetInput(
                f"{task.name}/{name}",
                task.digest,
                task.where,
                {TRAIN: "training", VALIDATION: "validation"}.get(name, "evaluation"),
            )
            for name in task.splits
        ],
    )
    uri = resolve_uri(config.tracking.uri, config.run.dir) if config.tracking.mlflow else None
    with (
        threadpool_limits(1, "blas"),  # a linear model must not depend on the number of cores
        Tracker.start(run.path, info, uri, config.tracking.experiment) as tracker,
    ):
        metrics, chosen = _measured(config, task, extractor)
        tracker.set_params({**extractor.facts(), **{f"head.chosen.{name}": value for name, value in chosen.items()}})
        tracker.log(metrics, 1, len(task.splits[TRAIN]))
        tracker.set_final(metrics)
        run.write_result(config, read, {"head": chosen, "metrics": metrics})
        tracker.add_artifact("config.yaml")
        tracker.add_artifact("result.json")
    for note in extractor.notes():
        say(f"{config.run.name}: {note}")
    _tell(config, task, metrics, chosen, say)
    result = run.result(config, read)
    assert result is not None
    return result


def _extractor(config: FeaturesConfig, task: Task, say: Say) -> _Extractor:
    if config.hidden is not None:
        return _hidden(config, task)
    if config.vectors is not None:
        return _vectors(config, task, say)
    assert config.tfidf is not None
    terms = Tfidf(config.tfidf, [text for example in task.splits[TRAIN] for text in example.texts])
    return _Extractor(lambda examples: example_features(task.kind, examples, terms.embed, terms.overlap))


def _hidden(config: FeaturesConfig, task: Task) -> _Extractor:
    # Here and not above: the other features have no need of torch's models.
    from pipeline.features.hidden import FrozenBody
    from pipeline.finetune.origin import Origin

    assert config.init is not None and config.hidden is not None
    origin = Origin.open(config.init.checkpoint, dropout=0.0)
    body = FrozenBody(origin, config.init, config.run.seed, config.hidden)
    lineage = dict(origin.lineage) if config.init.transfers else {}
    whole = config.hidden.pooling == "extract"

    def read(examples: Sequence[Example]) -> Matrix:
        return body.extract(examples, task.kind) if whole else example_features(task.kind, examples, body.embed)

    def facts() -> dict[str, Any]:
        return {"hidden.cut": round(body.cut / max(1, body.read), 4)}

    def notes() -> list[str]:
        what = "examples" if whole else "texts"
        return [f"{body.cut:,} of {body.read:,} {what} are cut to a context of {body.length} tokens"] * bool(body.cut)

    return _Extractor(read, lineage, facts, notes)


def _vectors(config: FeaturesConfig, task: Task, say: Say) -> _Extractor:
    settings = config.vectors
    assert settings is not None
    lineage: dict[str, str] = {}
    if settings.path is not None:
        path = settings.path
    else:
        assert settings.dataset is not None
        manifest = DatasetManifest.load(settings.dataset)
        lineage = {**manifest.lineage, "shards": manifest.digest}
        path = trained_path(settings, config.run.dir)
        if not Path(path).is_file():
            say(f"{config.run.name}: training word vectors on {manifest.name}: {path}")
            train_vectors(settings, path)
    mean = MeanVectors(load_vectors(path))
    return _Extractor(
        lambda examples: example_features(task.kind, examples, mean.embed),
        lineage,
        lambda: {"vectors.known_words": round(mean.known / max(1, mean.seen), 4)},
        lambda: [f"{mean.known:,} of {mean.seen:,} words have a vector"],
    )


def _measured(config: FeaturesConfig, task: Task, extractor: _Extractor) -> tuple[dict[str, float], dict[str, float]]:
    """Train on the training split, choose on validation, measure there and on every test set."""
    train = task.splits[TRAIN]
    rows = {name: extractor.features(examples) for name, examples in task.splits.items()}
    labels = {name: label_numbers(task, examples) for name, examples in task.splits.items()}

    def on(name: str, predict: Predict) -> dict[str, float]:
        scores = _example_scores(task, task.splits[name], predict(rows[name]))
        return measure(scores, labels[name], task.target, task.metrics)

    head = fit(
        config.head,
        rows[TRAIN],
        _row_labels(task, train, labels[TRAIN]),
        task.target,
        2 if task.kind == "choice" else len(task.labels),
        config.run.seed,
        lambda predict: on(VALIDATION, predict)[task.metrics[0]],
    )
    found = {f"val/{metric}": value for metric, value in on(VALIDATION, head.predict).items()}
    for name in task.splits:
        if name not in (TRAIN, VALIDATION):
            metrics = with_floors(task, name, on(name, head.predict))
            found |= {f"{name}/{metric}": value for metric, value in metrics.items()}
    return found, head.chosen


def _row_labels(task: Task, examples: Sequence[Example], labels: Labels) -> Labels:
    """[rows] what each row is to be called; of a choice, 1 for the right candidate and 0 for the others."""
    if task.kind != "choice":
        return labels
    counts = row_counts(task.kind, examples)
    right = np.zeros(counts.sum(), np.int64)
    right[np.cumsum(counts) - counts + labels.astype(np.int64)] = 1
    return right


def _example_scores(task: Task, examples: Sequence[Example], scores: RowScores) -> RowScores:
    """[n, classes or candidates], -inf for candidates that are none."""
    if task.kind != "choice":
        return scores
    counts = row_counts(task.kind, examples)
    found = np.full((len(examples), counts.max()), -np.inf)
    # Log odds of being right, as one would compare candidates of a single question.
    found[np.arange(counts.max()) < counts[:, None]] = scores[:, 1] - scores[:, 0]
    return found


def _tell(config: FeaturesConfig, task: Task, metrics: dict[str, float], chosen: dict[str, float], say: Say) -> None:
    how = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
    for name in task.splits:
        if name in (TRAIN, VALIDATION):
            continue
        shown = ", ".join(f"{metric} {metrics[f'{name}/{metric}']:.4f}" for metric in task.metrics)
        error = f" +- {metrics[f'{name}/stderr']:.4f}" if f"{name}/stderr" in metrics else ""
        floor = metrics.get(f"{name}/majority")
        chance = f"; the most frequent label alone gives {floor:.4f}" if floor is not None else ""
        say(
            f"{config.run.name}: {config.method}, {config.head.kind} head ({how} by validation): {name} {shown}{error} "
            f"({len(task.splits[name]):,} examples{chance})"
        )
