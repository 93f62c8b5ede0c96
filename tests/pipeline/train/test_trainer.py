from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dying import killed_in_step
from harness import outcomes, ranks
from in_turn import pretrain_in_turn
from run_folder import assert_same_run, losses, metrics, weights
from small_model import model_config, pretrain_config, write_dataset

from data_prep import store
from data_prep.errors import UserError
from pipeline.checkpoint.store import CheckpointManifest, CheckpointStore, Cursor
from pipeline.config.schema import PretrainConfig
from pipeline.exit_codes import ExitCode, RunEnd
from pipeline.pretrain import pretrain

TOKENS_A_STEP = 12 * 16


def test_a_killed_run_goes_on_exactly(small_dataset: Path, tmp_path: Path) -> None:
    """8 steps at once equal 8 steps with a SIGKILL in the sixth, behind the checkpoint of the fourth."""
    model = model_config(dropout=0.1).model_dump()
    settings = {"model": model, "parallel": {"zero_stage": 3}, "precision": "bf16"}
    whole = pretrain_config(small_dataset, tmp_path / "whole", **settings)
    ranks(2, pretrain, whole)
    cut = pretrain_config(small_dataset, tmp_path / "cut", **settings)
    survivor, killed = outcomes(2, killed_in_step, cut, 6, 1)
    assert killed.exit_code == -signal.SIGKILL
    assert survivor.trace
    run = tmp_path / "cut" / "run"
    assert [path.name for path in sorted((run / "checkpoints").glob("step_*"))] == ["step_00000004"]
    assert not (run / "result.json").exists()
    first, _ = outcomes(2, pretrain, cut)
    assert first.value["step"] == 8
    assert "resumed at step 4 from" in first.output
    assert [step for step, _, values in metrics(run) if "train/loss" in values] == list(range(1, 9))
    assert_same_run(tmp_path / "whole" / "run", run)


def test_a_run_is_continued_only_as_what_it_was(small_dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", seed=1)

    def config(dataset: Path = small_dataset, **changes: Any) -> PretrainConfig:
        return pretrain_config(dataset, tmp_path, **changes)

    ranks(1, pretrain, config())
    attempts = {
        "optimizer is not what this run was started with": config(optimizer={"lr": 2e-2}),
        "run.seed is not what this run was started with (7 -> 8)": config(run={"seed": 8}),
        "train.global_batch is not": config(train={"global_batch": 6}),
        "schedule is not": config(schedule={"kind": "linear"}),
        "precision is not": config(precision="bf16"),
        "another model shape: n_layer 2 (here 3)": config(model={"n_layer": 3}),
        "another model shape: d_model 16 (here 32), n_head 2 (here 4)": config(model={"d_model": 32, "n_head": 4}),
        "data is not what this run was started with": config(tmp_path / "other"),
        "schedule ends is not what this run was started with (1536 -> 3072)": config(train={"tokens": 3072}),
    }
    (said,) = ranks(1, pretrain_in_turn, list(attempts.values()))
    for message, found in zip(attempts, said, strict=True):
        assert message in found
    # What does not touch the numbers may change.
    result = (tmp_path / "run" / "result.json").read_bytes()
    longer = config(checkpoint={"every": 2, "keep_last": 5}, validation={"every": 3}, train={"log_every": 5})
    assert ranks(1, pretrain_in_turn, [longer]) == [["done"]]
    (tmp_path / "run" / "result.json").write_bytes(result)


def test_a_run_goes_on_under_another_topology(small_dataset: Path, tmp_path: Path) -> None:
    """Killed on two ranks with ZeRO-1, continued on one with ZeRO-3; micro-batch and accumulation follow."""

    def config(name: str, **parallel: Any) -> PretrainConfig:
        return pretrain_config(small_dataset, tmp_path, run={"name": name}, optimizer={"eps": 1e-4}, parallel=parallel)

    ranks(2, pretrain, config("whole"))
    outcomes(2, killed_in_step, config("cut"), 6, 1)
    (one,) = outcomes(1, pretrain, config("cut", zero_stage=3))
    assert one.trace == ""
    said = "the checkpoint was written by another topology: world_size 2 -> 1, zero_stage 1 -> 3"
    assert said in one.output.splitlines()
    assert "resumed at step 4 from" in one.output
    np.testing.assert_allclose(losses(tmp_path / "cut"), losses(tmp_path / "whole"), rtol=0, atol=2e-6)
    for key, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "cut")[key], value, rtol=0, atol=2e-5)


def test_a_constant_rate_may_train_longer(small_dataset: Path, tmp_path: Path) -> None:
    def config(steps: int, runs: str) -> PretrainConfig:
        return pretrain_config(
            small_dataset,
            tmp_path / runs,
            schedule={"kind": "constant"},
            train={"tokens": steps * TOKENS_A_STEP},
            validation={"every": 2},
            checkpoint={"every": 2},
        )

    ranks(1, pretrain_in_turn, [config(4, "parts"), config(6, "parts"), config(6, "whole")])
    assert_same_run(tmp_path / "parts" / "run", tmp_path / "whole" / "run")


def _complete_twice(config: PretrainConfig) -> tuple[dict[str, Any], dict[str, Any], bool]:
    first = pretrain(config)
    second = pretrain(config)
    return first, second, torch.distributed.is_initialized()


def test_a_complete_run_is_recognised_and_not_touched(small_dataset: Path, tmp_path: Path) -> None:
    config = pretrain_config(small_dataset, tmp_path)
    ((first, second, initialized),) = ranks(1, _complete_twice, config)
    assert {key: second[key] for key in first} == first
    assert not initialized
    assert first["step"] == 8
    assert first["consumed"] == 8 * TOKENS_A_STEP
    checkpoint = Path(first["checkpoint"])
    assert CheckpointManifest.load(checkpoint).digest == first["checkpoint_digest"]


def test_what_a_run_records(small_dataset: Path, tmp_path: Path) -> None:
    # 7.5 steps: the run is rounded up.
    config = pretrain_config(small_dataset, tmp_path, train={"tokens": 7 * TOKENS_A_STEP + 96})
    (one,) = outcomes(1, pretrain, config)
    run = tmp_path / "run"
    assert one.trace == ""
    rows = metrics(run)
    assert [(step, tokens) for step, tokens, values in rows if "train/loss" in values] == [
        (step, step * TOKENS_A_STEP) for step in range(1, 9)
    ]
    rates = [values["train/lr"] for _, _, values in rows if "train/lr" in values]
    assert rates[:2] == pytest.approx([0.005, 0.01])  # two steps of warm-up
    assert rates[2:] == sorted(rates[2:], reverse=True)
    validated = [(step, values) for step, _, values in rows if "val/loss" in values]
    assert [step for step, _ in validated] == [4, 8]
    final = validated[-1][1]
    assert final["val/ppl"] == pytest.approx(math.exp(final["val/loss"]))
    assert one.value["metrics"] == final
    assert validated[1][1]["val/loss"] < validated[0][1]["val/loss"]
    manifest = CheckpointManifest.load(run / "checkpoints" / "latest")
    assert manifest.cursor == Cursor(8, 96, 8 * TOKENS_A_STEP)
    assert manifest.topology == {
        "world_size": 1,
        "zero_stage": 1,
        "pipeline": 1,
        "tensor": 1,
        "precision": "fp32",
    }
    assert manifest.tokenizer_sha256 == store.sha256_of(str(run / "checkpoints" / "latest" / "tokenizer.json"))
    assert set(manifest.lineage) == {"links", "pages", "shards"}
    assert "unigram entropy of the same split" in one.output


def test_ranks_and_micro_batches_do_not_change_the_training(small_dataset: Path, tmp_path: Path) -> None:
    def config(name: str, micro_batch: int) -> PretrainConfig:
        return pretrain_config(
            small_dataset,
            tmp_path,
            run={"name": name},
            train={"micro_batch": micro_batch},
            optimizer={"lr": 1e-2, "eps": 1e-4},
        )

    ranks(2, pretrain, config("two", 3))
    ranks(1, pretrain_in_turn, [config("one", 12), config("pieces", 1)])
    for name in ("one", "pieces"):
        np.testing.assert_allclose(losses(tmp_path / name), losses(tmp_path / "two"), rtol=0, atol=2e-6)
        for key, value in weights(tmp_path / "two").items():
            torch.testing.assert_close(weights(tmp_path / name)[key], value, rtol=0, atol=2e-5)


def test_a_run_that_diverges_stops_and_keeps_its_good_checkpoint(small_dataset: Path, tmp_path: Path) -> None:
    config = pretrain_config(
        small_dataset,
        tmp_path,
        optimizer={"lr": 1e20, "grad_clip": 0},
        schedule={"kind": "constant", "warmup_tokens": 0},
        train={"log_every": 100},
        checkpoint={"every": 1, "keep_last": 10},
    )
    for one in outcomes(2, pretrain, config):
        assert isinstance(one.error, RunEnd)
        assert one.error.code == ExitCode.DIVERGED
        assert str(one.error).startswith("diverged at step 4: 3 updates in a row left out")
        assert "lower optimizer.lr" in str(one.error)
    assert CheckpointStore(tmp_path / "run" / "checkpoints", 10).steps() == [1]
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    assert b'"status": "FAILED"' in (tmp_path / "run" / "run.json").read_bytes()


def test_a_damaged_newest_checkpoint_costs_its_steps_only(small_dataset: Path, tmp_path: Path) -> None:
    whole = pretrain_config(small_dataset, tmp_path / "whole", checkpoint={"every": 2, "keep_last": 9})
    cut = pretrain_config(small_dataset, tmp_path / "cut", checkpoint={"every": 2, "keep_last": 9})
    ranks(1, pretrain_in_turn, [whole, cut])
    run = tmp_path / "cut" / "run"
    (run / "result.json").unlink()
    for step in (6, 8):
        os.truncate(run / "checkpoints" / f"step_{step:08d}" / "state/rank_00000.safetensors", 100)
    (one,) = outcomes(1, pretrain, cut)
    assert "WARNING: checkpoint of step 8 passed over" in one.output
    assert "WARNING: checkpoint of step 6 passed over" in one.output
    assert "resumed at step 4" in one.output
    assert_same_run(tmp_path / "whole" / "run", run)
    (run / "result.json").unlink()
    for step in (2, 4, 6, 8):
        os.truncate(run / "checkpoints" / f"step_{step:08d}" / "state/rank_00000.safetensors", 100)
    (one,) = outcomes(1, pretrain, cut)
    assert isinstance(one.error, UserError)
    assert "none of the 4 checkpoints can be loaded" in str(one.error)
