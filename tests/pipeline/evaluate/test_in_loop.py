"""A suite on a model that trains: what it says is what its checkpoints would, and training does not notice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from dying import killed_in_step
from harness import outcomes, ranks
from in_turn import pretrain_in_turn
from run_folder import metrics, weights
from small_model import model_config, pretrain_config, write_rows

from data_prep.configfile import validate
from data_prep.errors import UserError
from pipeline.config.schema import EvaluateConfig, PretrainConfig
from pipeline.evaluate.in_loop import check_memory
from pipeline.evaluate.run import evaluate

ABOUT = {"title": "made up", "licence": "none"}
TABLE = {"path": "cola.tsv", "format": "tsv", "options": {"columns": ["source", "label", "mark", "sentence"]}}
WORDS = ["moon", "boat", "road", "dog", "cat"]
DEFINITIONS: dict[str, Any] = {
    "text": {"kind": "language-model", "about": ABOUT, "data": {"path": "text.txt", "format": "text"}},
    "cola": {"kind": "acceptability", "about": ABOUT, "data": TABLE, "tuning": TABLE},
    "choices": {
        "kind": "choice",
        "about": ABOUT,
        "data": {"path": "choices.jsonl", "format": "jsonl"},
        "context": "{question}?",
        "shots": {"counts": [0, 2]},
    },
}
TOPOLOGIES: dict[str, dict[str, Any]] = {
    "ZeRO-3": {"parallel": {"zero_stage": 3}, "precision": "bf16"},
    "LSTM": {"model": {"kind": "lstm", "n_head": 0, "units": 24}},
    # Behind the others: DeepSpeed remembers it, and starts no plain module any more.
    "stages": {"parallel": {"pipeline": 2}},
    "slices": {"parallel": {"tensor": 2}},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    (folder / "text.txt").write_text(" the cat sees the moon \n" * 4)
    (folder / "cola.tsv").write_text(
        "".join(f"x\t{number % 2}\t\tthe cat sees the {word}\n" for number, word in enumerate(WORDS * 2))
    )
    write_rows(
        folder / "choices.jsonl",
        [
            {"question": f"who sees the {word}", "choices": ["nobody", "a cat", "it"], "answer": number % 3}
            for number, word in enumerate(WORDS)
        ],
    )
    return folder


def suite(root: Path, **changes: Any) -> dict[str, Any]:
    return {"every": 2, "root": str(root), "tasks": list(DEFINITIONS), "definitions": DEFINITIONS, **changes}


def config(dataset: Path, folder: Path, name: str, suite: dict[str, Any] | None, **changes: Any) -> PretrainConfig:
    model = {**model_config(dropout=0.1, vocab_multiple=20).model_dump(), **changes.pop("model", {})}
    run = {"name": name, "dir": str(folder)}
    return pretrain_config(dataset, folder, **{"run": run, "model": model, "suite": suite, **changes})


def scores(run: Path) -> dict[int, dict[str, float]]:
    """Step -> scores."""
    found = {}
    for step, _, values in metrics(run):
        mine = {key.removeprefix("zero_shot/"): value for key, value in values.items() if key.startswith("zero_shot/")}
        if mine:
            assert step not in found
            found[step] = mine
    return found


def without_scores(run: Path) -> list[tuple[int, int, dict[str, Any]]]:
    found = []
    for step, tokens, values in metrics(run):
        rest = {key: value for key, value in values.items() if not key.startswith("zero_shot/")}
        if rest:
            found.append((step, tokens, rest))
    return found


@pytest.mark.slow
def test_scores_are_those_of_the_checkpoints_and_training_is_as_without_them(
    small_dataset: Path, root: Path, tmp_path: Path
) -> None:
    absent = {**DEFINITIONS["choices"], "data": {"path": "absent.jsonl", "format": "jsonl"}}
    broken = {**DEFINITIONS["choices"], "context": "{answr}?"}
    bad = {
        "needs this file, which is not there": suite(root, definitions={"a": absent}, tasks=["a"]),
        "cannot be filled": suite(root, definitions={"a": broken}, tasks=["a"]),
    }
    short = {"train": {"tokens": 4 * 12 * 16}, "checkpoint": {"every": 2}, "validation": {"every": 2}}
    configs = [config(small_dataset, tmp_path, f"bad-{i}", one) for i, one in enumerate(bad.values())]
    configs += [config(small_dataset, tmp_path, "plain", None, **short, **TOPOLOGIES["ZeRO-3"])]
    configs += [config(small_dataset, tmp_path, name, suite(root), **short, **TOPOLOGIES[name]) for name in TOPOLOGIES]
    for said in ranks(2, pretrain_in_turn, configs):
        assert all(why in error for why, error in zip(bad, said, strict=False)), said
        assert said[len(bad) :] == ["done"] * (1 + len(TOPOLOGIES))
    assert not (tmp_path / "bad-0" / "metrics.jsonl").exists()

    assert without_scores(tmp_path / "ZeRO-3") == metrics(tmp_path / "plain")
    left, right = weights(tmp_path / "ZeRO-3"), weights(tmp_path / "plain")
    assert all(torch.equal(left[name], right[name]) for name in right)

    for name in TOPOLOGIES:
        found = scores(tmp_path / name)
        assert list(found) == [2, 4]
        assert found[2] != found[4]
        checkpoints = tmp_path / name / "checkpoints"
        evaluation = {
            "run": {"name": f"{name}-evaluation", "dir": str(tmp_path)},
            "checkpoint": str(checkpoints),
            "suite": {key: value for key, value in suite(root, shots=(0,)).items() if key != "every"},
            "tracking": {"mlflow": False},
        }
        evaluate(validate(EvaluateConfig, evaluation, "test"))
        assert found == {
            step: pytest.approx(values, rel=1e-6) for step, _, values in metrics(tmp_path / f"{name}-evaluation")
        }


def test_a_killed_run_has_each_point_once(small_dataset: Path, root: Path, tmp_path: Path) -> None:
    """Killed in the eighth step, behind the checkpoint of the fourth and the scores of the sixth."""
    small = suite(root, tasks=["text"], every=3)
    cut, whole = (config(small_dataset, tmp_path, name, small) for name in ("cut", "whole"))
    assert outcomes(2, killed_in_step, cut, 8, 1)[1].exit_code == -signal.SIGKILL
    assert list(scores(tmp_path / "cut")) == [3, 6]
    (first, _) = outcomes(2, pretrain_in_turn, [cut, whole])
    assert "resumed at step 4 from" in first.output
    assert list(scores(tmp_path / "cut")) == [3, 6, 8]
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_what_cannot_be_scored_in_the_loop(small_dataset: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suite\.shots"):
        config(small_dataset, tmp_path, "run", suite(root, shots=[2]))
    with pytest.raises(UserError, match=r"a copy of the weights on every rank, 1048576\.0 GiB"):
        check_memory(1 << 50, torch.device("cpu"))
