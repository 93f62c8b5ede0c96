from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from harness import ranks
from run_folder import metrics
from small_model import write_rows
from tiny_models import hugging_face_folder

from data_prep.configfile import merge, validate
from data_prep.errors import UserError
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.complete import result_of
from pipeline.config.schema import EvaluateConfig
from pipeline.evaluate.run import evaluate

ROWS = [
    {"context": "the cat sees the", "choices": ["moon.", "zzzz."], "answer": 0},
    {"context": "nobody likes two", "choices": ["xyxy.", "apples."], "answer": 1},
]


def config(checkpoint: Path, dataset: Path, folder: Path, **changes: Any) -> EvaluateConfig:
    write_rows(folder / "choice.jsonl", ROWS)
    data = {
        "run": {"name": "evaluate", "dir": str(folder)},
        "checkpoint": str(checkpoint),
        "perplexity": {"path": str(dataset), "documents": 5},
        "choice": {"name": "words", "path": str(folder / "choice.jsonl")},
        "tracking": {"mlflow": False},
    }
    return validate(EvaluateConfig, merge(data, changes), "test")


def test_scores_and_where_they_come_from(
    pretrained: Path, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(config(pretrained, small_dataset, tmp_path))
    manifest = CheckpointManifest.load(pretrained)
    assert result["checkpoint_digest"] == manifest.digest
    found = result["metrics"]
    assert found["choice/accuracy"] == 1.0
    assert found["lm/ppl_token"] < 100
    assert found["lm/documents"] == 5
    assert result["choice"]["definition"]["normalization"] == "token"
    assert "perplexity per token" in capsys.readouterr().out
    ((step, consumed, logged),) = metrics(tmp_path / "evaluate")
    assert (step, consumed) == (manifest.cursor.step, manifest.cursor.consumed)
    assert logged == found
    record = orjson.loads((tmp_path / "evaluate" / "run.json").read_bytes())
    assert record["tags"]["upstream.pretrain"] == manifest.digest
    assert record["tags"]["upstream.shards"] == manifest.lineage["shards"]
    assert record["status"] == "FINISHED"


def test_batch_size_does_not_change_the_numbers(pretrained: Path, small_dataset: Path, tmp_path: Path) -> None:
    found = [
        evaluate(config(pretrained, small_dataset, tmp_path, run={"name": str(size)}, batch_tokens=size))["metrics"]
        for size in (1, 100, 8192)
    ]
    assert found[0] == found[1] == found[2]


def _evaluated(settings: EvaluateConfig) -> dict[str, Any]:
    return evaluate(settings)


@pytest.mark.slow
def test_a_hugging_face_folder_on_two_ranks_has_the_numbers_of_one(small_dataset: Path, tmp_path: Path) -> None:
    hugging_face_folder(tmp_path / "model")
    runs = [config(tmp_path / "model", small_dataset, tmp_path, run={"name": str(size)}) for size in (1, 2)]
    one, two = ranks(1, _evaluated, runs[0])[0], ranks(2, _evaluated, runs[1])
    assert one["metrics"] == two[0]["metrics"]
    assert two[1] == {}
    record = orjson.loads((tmp_path / "2" / "run.json").read_bytes())
    assert "upstream.imported" in record["tags"]
    before = (tmp_path / "2" / "run.json").read_bytes()
    assert evaluate(runs[1])["metrics"] == one["metrics"]
    assert (tmp_path / "2" / "run.json").read_bytes() == before, "complete: nothing to do"
    settings = tmp_path / "model" / "config.json"
    settings.write_text(settings.read_text() + " ")
    assert result_of(runs[1]) is None, "another model"


def test_a_complete_evaluation_is_recognised(pretrained: Path, small_dataset: Path, tmp_path: Path) -> None:
    evaluate(config(pretrained, small_dataset, tmp_path))
    before = (tmp_path / "evaluate" / "run.json").read_bytes()
    evaluate(config(pretrained, small_dataset, tmp_path))
    assert (tmp_path / "evaluate" / "run.json").read_bytes() == before
    ROWS.append({"context": "a", "choices": ["b", "c"], "answer": 0})
    try:
        again = evaluate(config(pretrained, small_dataset, tmp_path))
    finally:
        ROWS.pop()
    assert again["metrics"]["choice/examples"] == 3


def test_nothing_to_evaluate_is_an_error(pretrained: Path, small_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to evaluate; give a perplexity:"):
        evaluate(config(pretrained, small_dataset, tmp_path, perplexity=None, choice=None))
    with pytest.raises(UserError, match="against: only tasks of a suite: are compared"):
        evaluate(config(pretrained, small_dataset, tmp_path, against="elsewhere"))
    assert not (tmp_path / "evaluate").exists()
