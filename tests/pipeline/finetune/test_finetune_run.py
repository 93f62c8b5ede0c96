from __future__ import annotations

import math
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from dying import killed_in_step
from harness import outcomes, ranks
from run_folder import assert_same_run, checkpoint_weights, metrics, weights
from small_model import finetune_config, write_rows, write_task

from data_prep.errors import UserError
from pipeline.checkpoint.language_model import language_model
from pipeline.checkpoint.pieces import state_file
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.finetune.run import finetune


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    write_task(folder)
    return folder


def test_a_killed_fine_tuning_goes_on_exactly(pretrained: Path, task: Path, tmp_path: Path) -> None:
    """12 steps at once equal 12 steps with a SIGKILL in the tenth, behind the checkpoint of the eighth."""

    def config(name: str) -> object:
        return finetune_config(pretrained, task, tmp_path / name, task={"dropout": 0.1}, parallel={"zero_stage": 3})

    whole, _ = ranks(2, finetune, config("whole"))
    _, killed = outcomes(2, killed_in_step, config("cut"), 10, 1)
    assert killed.exit_code == -signal.SIGKILL
    first, _ = outcomes(2, finetune, config("cut"))
    assert "resumed at step 8" in first.output
    assert first.value["metrics"] == whole["metrics"]
    assert whole["step"] == 12  # 2 epochs of 48 examples, 8 a step
    assert_same_run(tmp_path / "whole" / "finetune", tmp_path / "cut" / "finetune")


def test_an_easy_task_is_learned(pretrained: Path, task: Path, tmp_path: Path) -> None:
    config = finetune_config(pretrained, task, tmp_path, train={"epochs": 8}, validation={"every": 1})
    (found,) = ranks(1, finetune, config)
    accuracies = [values["val/accuracy"] for _, _, values in metrics(tmp_path / "finetune") if "val/accuracy" in values]
    assert accuracies[0] < 0.9
    assert accuracies[-1] > 0.9
    result = found["metrics"]
    assert result["test/accuracy"] > 0.9
    assert result["test/majority"] == pytest.approx(5 / 13)
    manifest = CheckpointManifest.load(Path(found["checkpoint"]))
    upstream = CheckpointManifest.load(pretrained)
    assert manifest.kind == "finetune"
    assert manifest.lineage["pretrain"] == upstream.digest
    assert manifest.lineage["shards"] == upstream.lineage["shards"]
    with pytest.raises(UserError, match="written by finetune"):
        language_model(manifest, 0.0, "init.checkpoint")


def test_random_weights_are_another_start_without_the_lineage(pretrained: Path, task: Path, tmp_path: Path) -> None:
    """With a rate of (nearly) nothing, what is saved is what was started from."""
    for name in ("pretrained", "random"):
        config = finetune_config(
            pretrained,
            task,
            tmp_path,
            run={"name": name},
            init={"weights": name},
            optimizer={"lr": 1e-30},
            train={"epochs": 0.1},
        )
        ranks(1, finetune, config)
    given = checkpoint_weights(pretrained)
    for name, value in given.items():
        kept = weights(tmp_path / "pretrained")[f"body.{name}"][: len(value)]
        assert torch.equal(kept, value), name
        if value.ndim > 1:
            assert not torch.allclose(weights(tmp_path / "random")[f"body.{name}"][: len(value)], value)
    assert "pretrain" not in CheckpointManifest.load(tmp_path / "random" / "checkpoints" / "latest").lineage


def test_validation_and_test_do_not_depend_on_the_number_of_ranks(pretrained: Path, task: Path, tmp_path: Path) -> None:
    """11 and 13 examples do not divide by 2 ranks x 2."""
    found = []
    for size in (1, 2):
        config = finetune_config(
            pretrained,
            task,
            tmp_path,
            run={"name": str(size)},
            train={"epochs": 0.5},
            optimizer={"lr": 1e-3, "eps": 1e-4},
        )
        found.append(ranks(size, finetune, config)[0]["metrics"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    accuracy = found[0]["test/accuracy"]
    assert accuracy * 13 == pytest.approx(round(accuracy * 13))
    assert found[0]["test/stderr"] == pytest.approx(math.sqrt(accuracy * (1 - accuracy) / 13))


def test_bad_input_is_told_before_anything_is_written(pretrained: Path, task: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(pretrained, tmp_path / "damaged"))
    os.truncate(damaged / state_file(0), 99)
    bad_task = Path(shutil.copytree(task, tmp_path / "bad"))
    write_rows(bad_task / "validation.jsonl", [{"text": "a", "label": "horse"}])
    for checkpoint, folder, message in (
        (tmp_path / "nothing", task, "no checkpoint here"),
        (damaged, task, "has 99 bytes, the manifest says"),
        (pretrained, tmp_path / "no-task", "no such task file"),
        (pretrained, bad_task, "validation has labels that train has not: ['horse']"),
    ):
        (one,) = outcomes(1, finetune, finetune_config(checkpoint, folder, tmp_path / "runs"))
        assert isinstance(one.error, UserError), one.trace
        assert message in str(one.error)
    assert not (tmp_path / "runs").exists()
