from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_model import write_rows, write_task

from data_prep.configfile import merge, validate
from data_prep.errors import UserError
from pipeline.complete import result_of
from pipeline.config.features import FeaturesConfig, TfidfConfig
from pipeline.features.examples import example_features
from pipeline.features.run import features
from pipeline.features.tfidf import Tfidf
from pipeline.finetune.task import Example
from pipeline.tracking.runfolder import RunRecord

SECTIONS: dict[str, dict[str, Any]] = {
    "hidden": {"hidden": {"pooling": "mean"}},
    "vectors": {"vectors": {"min_count": 1, "size": 16, "epochs": 10}},
    "tfidf": {"tfidf": {}},
}


def features_config(runs: Path, method: str, /, **changes: Any) -> FeaturesConfig:
    data = {
        "run": {"name": method, "dir": str(runs)},
        "task": {"name": "animals"},
        "tracking": {"mlflow": False},
        **SECTIONS[method],
    }
    return validate(FeaturesConfig, merge(data, changes), "test")


def inputs(method: str, pretrained: Path, small_dataset: Path) -> dict[str, Any]:
    """What each method reads."""
    if method == "hidden":
        return {"init": {"checkpoint": str(pretrained)}}
    return {"vectors": {"dataset": str(small_dataset)}} if method == "vectors" else {}


@pytest.mark.parametrize("method", SECTIONS)
def test_an_easy_task_is_learned_and_recognised_as_complete(
    method: str, pretrained: Path, small_dataset: Path, tmp_path: Path
) -> None:
    write_task(tmp_path / "task")
    read = {"task": {"path": str(tmp_path / "task")}, **inputs(method, pretrained, small_dataset)}
    config = features_config(tmp_path / "runs", method, **read)
    lines: list[str] = []
    found = features(config, lines.append)
    metrics = found["metrics"]
    assert metrics["test/accuracy"] > 0.8
    assert metrics["test/majority"] == pytest.approx(5 / 13)
    assert {"val/accuracy", "val/loss", "test/loss", "test/stderr"} <= set(metrics)
    assert any("test accuracy" in line for line in lines)
    record = RunRecord.load(tmp_path / "runs" / method)
    assert (record.stage, record.params["method"], record.status) == ("finetune", method, "FINISHED")
    assert record.final == metrics
    assert ("upstream.pretrain" in record.tags) is (method == "hidden")
    assert features(config, lines.append) == result_of(config) == found
    other = config.model_copy(update={"head": config.head.model_copy(update={"kind": "mlp"})})
    assert result_of(other) is None


def _pairs(count: int, seed: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        some = [f"w{one}" for one in draw.choice(400, 6, replace=False)]
        other = [*some[:4], "so"] if number % 2 else [f"w{one}" for one in draw.choice(400, 5)]
        rows.append({"a": " ".join(some), "b": " ".join(other), "label": "same" if number % 2 else "other"})
    return rows


def test_what_two_texts_share_is_seen_whatever_the_words(tmp_path: Path) -> None:
    """No word says anything; and candidates of a choice are told apart by it too."""
    for split, count in (("train", 100), ("validation", 40), ("test", 100)):
        write_rows(tmp_path / f"{split}.jsonl", _pairs(count, count))
    table = {
        "kind": "similarity",
        "files": {split: f"{split}.jsonl" for split in ("train", "validation", "test")},
        "texts": ["a", "b"],
    }
    task = {"name": "pairs", "root": str(tmp_path), "table": table, "cache": str(tmp_path / "cache")}
    metrics = features(features_config(tmp_path, "tfidf", task=task), lambda line: None)["metrics"]
    assert metrics["test/accuracy"] > 0.95
    assert metrics["test/f1"] > 0.95
    for split, count in (("train", 100), ("validation", 40), ("test", 60)):
        rows = [
            {"context": one["a"], "candidates": [other["b"], one["b"]], "answer": 1}
            for one, other in zip(_pairs(count, 1)[1::2], _pairs(count, 2)[0::2], strict=True)
        ]
        rows = [
            row if n % 3 else {**row, "candidates": row["candidates"][::-1], "answer": 0} for n, row in enumerate(rows)
        ]
        write_rows(tmp_path / f"choice-{split}.jsonl", rows)
    table = {
        "kind": "choice",
        "files": {split: f"choice-{split}.jsonl" for split in ("train", "validation", "test")},
        "texts": ["context", "candidates"],
        "label": "answer",
    }
    config = features_config(tmp_path, "tfidf", run={"name": "choice"}, task={**task, "table": table})
    metrics = features(config, lambda line: None)["metrics"]
    assert metrics["test/accuracy"] > 0.95
    assert metrics["test/majority"] == pytest.approx(2 / 3, abs=0.05)


def test_pair_features_are_symmetric_only_where_the_pair_is() -> None:
    texts = ["cat dog river", "dog river moon boat", "cat dog"]
    terms = Tfidf(TfidfConfig(), texts)
    pair, turned = Example((texts[0], texts[1]), "x"), Example((texts[1], texts[0]), "x")

    def dense(kind: Any, example: Example) -> np.ndarray:
        return example_features(kind, [example], terms.embed).toarray()

    np.testing.assert_array_equal(dense("similarity", pair), dense("similarity", turned))
    assert not np.array_equal(dense("entailment", pair), dense("entailment", turned))
    overlap = terms.overlap([(texts[0], texts[1]), (texts[0], texts[0])])
    np.testing.assert_allclose(overlap[0, [0, 1, 2, 4]], [2 / 5, 2 / 3, 2 / 4, 1 / 7], rtol=1e-6)
    np.testing.assert_allclose(overlap[1], [1, 1, 1, 1, 0], rtol=1e-6)


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"hidden": {}, "init": {"checkpoint": "x"}}, "exactly one of the sections"),
        ({"init": {"checkpoint": "x"}}, "init belongs to hidden"),
        ({"head": {"kind": "mlp"}}, "too many for an MLP"),
    ):
        with pytest.raises(UserError, match=message):
            features_config(tmp_path, "tfidf", task={"path": "task"}, **changes)
